//! A daemon that is mistaken about who is frozen, as late news of its own shims make it.

use statefork_runtime::{
    CaptureRequest, Captures, Container, ContainerState, Containers, ExecRequest, Images, Phases,
    freezer,
};

use crate::Outcome;
use crate::fixture::Fixture;

/// What is done to the container behind the daemon's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    /// It says that the container is paused, which runs.
    Paused,
    /// It says that the container runs, which is frozen.
    Running,
}

impl Mistake {
    const ALL: [Self; 2] = [Self::Paused, Self::Running];

    async fn make(self, f: &Fixture, container: &Container) -> Outcome {
        let pid = container.pid.ok_or("no pid")?;
        match self {
            Self::Paused => {
                f.docker.pause(&container.id).await?;
                freezer::thaw(pid, &container.id)?;
            }
            Self::Running => freezer::freeze(pid, &container.id).await?,
        }
        Ok(())
    }

    /// What is so.
    fn truth(self) -> ContainerState {
        match self {
            Self::Paused => ContainerState::Running,
            Self::Running => ContainerState::Paused,
        }
    }
}

async fn state(f: &Fixture, container: &Container) -> Result<ContainerState, crate::Error> {
    let found = f.docker.inspect(&container.id).await?;
    Ok(found.ok_or("no container")?.state)
}

/// A command in the container succeeds.
async fn runs(f: &Fixture, container: &Container) -> Outcome {
    let request = ExecRequest {
        argv: vec!["/bin/true".into()],
        ..ExecRequest::default()
    };
    let exec = f.docker.exec(&container.id, &request).await?;
    assert_eq!(exec.control.wait().await?.code(), 0);
    Ok(())
}

#[tokio::test]
async fn the_kernel_is_believed() -> Outcome {
    let f = Fixture::new().await?;
    let base = f.import(&f.name("base"), &serde_json::json!({}), 0).await?;
    for mistake in Mistake::ALL {
        for pause in [false, true] {
            let container = f.launch("one", &f.docker.of_image(&base)).await?;
            mistake.make(&f, &container).await?;
            assert_eq!(state(&f, &container).await?, mistake.truth(), "{mistake:?}");
            if pause {
                f.docker.pause(&container.id).await?;
                assert_eq!(state(&f, &container).await?, ContainerState::Paused);
            }
            f.docker.unpause(&container.id).await?;
            assert_eq!(state(&f, &container).await?, ContainerState::Running);
            runs(&f, &container).await?;
            f.docker.remove(&container.id).await?;
        }
    }
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}

#[tokio::test]
async fn a_command_runs_in_what_the_daemon_takes_for_paused() -> Outcome {
    let f = Fixture::new().await?;
    let base = f.import(&f.name("base"), &serde_json::json!({}), 0).await?;
    let container = f.launch("one", &f.docker.of_image(&base)).await?;
    Mistake::Paused.make(&f, &container).await?;
    runs(&f, &container).await?;
    f.docker.remove(&container.id).await?;
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}

#[tokio::test]
async fn a_capture_freezes_and_leaves_as_it_was() -> Outcome {
    let f = Fixture::new().await?;
    let base = f.import(&f.name("base"), &serde_json::json!({}), 0).await?;
    for mistake in Mistake::ALL {
        let container = f.launch("one", &f.docker.of_image(&base)).await?;
        mistake.make(&f, &container).await?;
        let request = CaptureRequest {
            name: f.name("capture"),
            labels: f.labels(),
            pause: true,
        };
        let phases = Phases::new();
        let captured = f.docker.capture(&container.id, &request, &phases).await?;
        // What the daemon freezes for a commit it thaws again; one that was frozen before runs too,
        // since nobody but a daemon that was killed leaves one so.
        assert_eq!(state(&f, &container).await?, ContainerState::Running);
        runs(&f, &container).await?;
        f.docker.remove(&container.id).await?;
        f.docker.remove_capture(&captured.capture).await?;
    }
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}

#[tokio::test]
async fn what_is_frozen_unknown_to_the_daemon_is_removed() -> Outcome {
    let f = Fixture::new().await?;
    let base = f.import(&f.name("base"), &serde_json::json!({}), 0).await?;
    for mistake in Mistake::ALL {
        let container = f.launch("one", &f.docker.of_image(&base)).await?;
        mistake.make(&f, &container).await?;
        f.docker.remove(&container.id).await?;
        assert_eq!(f.docker.inspect(&container.id).await?, None, "{mistake:?}");
    }
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}
