//! What somebody else made from a snapshot of ours: an image that was built from it by hand, and a
//! container that was run from that. Both have inherited our labels, and are none of our business.

use futures_util::{FutureExt, StreamExt};
use statefork_runtime::{
    BuildRequest, ContainerId, ContainerSpec, ContainerState, ImageId, LaunchRequest, Phases,
    RuntimeOptions,
};

use crate::world::{World, on};

/// An image and a container; both are removed when it is dropped.
pub(crate) struct Foreign {
    runtime: &'static str,
    name: String,
    image: ImageId,
    container: ContainerId,
}

impl Foreign {
    /// As `build` and `run` of the runtime's own command make them.
    pub(crate) fn from_snapshot(world: &World, snapshot: &str) -> Self {
        let name = format!("localhost/foreign-{}:latest", world.name);
        let from = format!("statefork.local/{}:{snapshot}", world.name);
        let dockerfile = format!("FROM {from}\nCOPY Dockerfile /theirs\n");
        let mut context = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(dockerfile.len() as u64);
        header.set_mode(0o644);
        context
            .append_data(&mut header, "Dockerfile", dockerfile.as_bytes())
            .unwrap();
        let context = context.into_inner().unwrap();
        world.on(async |runtime| {
            let request = BuildRequest {
                context: async { Ok(context.into()) }.into_stream().boxed(),
                dockerfile: "Dockerfile".to_owned(),
                args: Default::default(),
                name: name.clone(),
                labels: Default::default(),
            };
            let image = runtime.build_image(request, &mut |_| ()).await?;
            let request = LaunchRequest {
                name: format!("foreign-{}", world.name),
                spec: ContainerSpec {
                    command: Some(["sleep", "600"].map(ToOwned::to_owned).into()),
                    ..ContainerSpec::default()
                },
                labels: Default::default(),
                publish: Vec::new(),
            };
            let from = runtime.of_image(&image);
            let container = runtime.launch(&from, &request, &Phases::new()).await?.id;
            Ok(Self {
                runtime: world.runtime,
                name: name.clone(),
                image,
                container,
            })
        })
    }

    /// What of them the runtime finds by our labels, and the name under which Docker's images wait
    /// for those that were built from them.
    pub(crate) fn keeps(&self) -> [String; 4] {
        let [image, container] = [self.image.to_string(), self.container.to_string()];
        let waiting = "statefork.local/docker/removed:".to_owned();
        [self.name.clone(), image, container, waiting]
    }

    /// The image has its name and files, and the container runs.
    pub(crate) fn check(&self, place: &str) {
        on(self.runtime, &RuntimeOptions::default(), async |runtime| {
            let image = runtime.inspect_image(&self.name).await?;
            assert_eq!(
                image.map(|image| image.id),
                Some(self.image.clone()),
                "{place}"
            );
            let container = runtime.inspect(&self.container).await?;
            let state = container.map(|container| container.state);
            assert_eq!(state, Some(ContainerState::Running), "{place}");
            Ok(())
        });
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        on(self.runtime, &RuntimeOptions::default(), async |runtime| {
            runtime.remove(&self.container).await?;
            runtime.remove_image(&self.name).await
        });
    }
}
