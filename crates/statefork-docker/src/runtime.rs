//! The runtime as a whole: who it is, what it can do, what of ours is in it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters::{ListContainersOptions, ListImagesOptions};
use statefork_runtime::{
    Capabilities, ContainerId, Found, HomeId, LABEL_HOME, LABEL_OBJECT, LABEL_TYPE, ObjectId,
    ObjectType, Result, Runtime, RuntimeIdentity, probe,
};
use tokio::net::TcpStream;

use crate::{DockerRuntime, NAME, names};

/// How many layers an image can have: `maxLayerDepth` of the daemon's layer store.
pub(crate) const LAYER_LIMIT: u32 = 125;

/// How long a connection to a container on this machine may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

#[async_trait]
impl Runtime for DockerRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn identify(&self) -> Result<RuntimeIdentity> {
        let docker = self.client.docker()?;
        let info = self
            .client
            .bounded("ask the daemon for its version", docker.info());
        let info = info.await?;
        let version = info.server_version.unwrap_or_default();
        let parts = [
            Some(version.clone()),
            info.kernel_version,
            info.driver,
            info.id,
            info.default_runtime,
            info.cgroup_version.map(|version| version.to_string()),
        ];
        let parts: Vec<String> = parts.into_iter().map(Option::unwrap_or_default).collect();
        Ok(RuntimeIdentity {
            version,
            endpoint: self.client.endpoint(),
            fingerprint: parts.join("|"),
        })
    }

    async fn probe(&self, object: &ObjectId) -> Result<Capabilities> {
        probe::by_doing(self, object, can_connect, Some(LAYER_LIMIT)).await
    }

    async fn find(&self, home: &HomeId) -> Result<Vec<Found>> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{LABEL_HOME}={home}")])]);
        let docker = self.client.docker()?;
        let containers = docker.list_containers(Some(ListContainersOptions {
            all: true,
            filters: Some(filters.clone()),
            ..ListContainersOptions::default()
        }));
        let images = docker.list_images(Some(ListImagesOptions {
            all: true,
            filters: Some(filters),
            ..ListImagesOptions::default()
        }));
        let (containers, images) = tokio::join!(
            self.client.bounded("list containers", containers),
            self.client.bounded("list images", images),
        );
        let mut found = Vec::new();
        for container in containers? {
            let (kind, object) = ours(&container.labels.unwrap_or_default());
            found.push(Found::Container {
                id: ContainerId::new(container.id.unwrap_or_default()),
                kind,
                object,
            });
        }
        for image in images? {
            let (kind, object) = ours(&image.labels);
            // An untagged image is listed with the name `<none>:<none>`.
            let mut names: Vec<String> = image
                .repo_tags
                .iter()
                .filter_map(|name| names::image_reference(name))
                .collect();
            if names.is_empty() {
                names.push(image.id);
            }
            found.extend(names.into_iter().map(|name| Found::Image {
                name,
                kind,
                object: object.clone(),
            }));
        }
        found.sort();
        Ok(found)
    }
}

fn ours(labels: &HashMap<String, String>) -> (Option<ObjectType>, Option<ObjectId>) {
    (
        labels
            .get(LABEL_TYPE)
            .and_then(|kind| ObjectType::parse(kind)),
        labels.get(LABEL_OBJECT).map(ObjectId::new),
    )
}

async fn can_connect(address: SocketAddr) -> bool {
    let connect = TcpStream::connect(address);
    matches!(
        tokio::time::timeout(CONNECT_LIMIT, connect).await,
        Ok(Ok(_))
    )
}
