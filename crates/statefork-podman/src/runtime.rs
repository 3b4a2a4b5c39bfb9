//! Podman as a whole: identity, probe, and what is ours in it.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use podman_api::opts::{ContainerListFilter, ContainerListOpts, ImageListFilter, ImageListOpts};
use statefork_runtime::{
    Capabilities, ContainerId, Found, HomeId, LABEL_HOME, LABEL_OBJECT, LABEL_TYPE, ObjectId,
    ObjectType, Result, Runtime, RuntimeIdentity, probe,
};
use tokio::net::TcpStream;

use crate::{LAYER_LIMIT, NAME, PodmanRuntime};

/// How long a connection to a container may take to open.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

#[async_trait]
impl Runtime for PodmanRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn identify(&self) -> Result<RuntimeIdentity> {
        let info = self
            .client
            .call(self.client.podman.info())
            .await
            .map_err(|fault| self.client.error("ask Podman for its version", fault))?;
        let version = info.version.and_then(|version| version.version);
        let version = version.unwrap_or_else(|| "unknown".into());
        let mut parts = vec![format!("podman {version}")];
        if let Some(host) = info.host {
            let oci = host.oci_runtime;
            parts.extend(
                [
                    host.kernel,
                    oci.as_ref().and_then(|oci| oci.path.clone()),
                    oci.and_then(|oci| oci.version),
                    host.cgroup_version,
                    host.cgroup_manager,
                    host.network_backend,
                ]
                .into_iter()
                .flatten(),
            );
        }
        if let Some(store) = info.store {
            parts.extend(
                [store.graph_driver_name, store.graph_root]
                    .into_iter()
                    .flatten(),
            );
        }
        Ok(RuntimeIdentity {
            version,
            endpoint: self.client.endpoint.clone(),
            fingerprint: parts.join("; ").replace('\n', " "),
        })
    }

    async fn probe(&self, object: &ObjectId) -> Result<Capabilities> {
        probe::by_doing(self, object, reach, Some(LAYER_LIMIT)).await
    }

    async fn find(&self, home: &HomeId) -> Result<Vec<Found>> {
        let containers = ContainerListOpts::builder()
            .all(true)
            .filter([ContainerListFilter::LabelKeyVal(
                LABEL_HOME.into(),
                home.to_string(),
            )])
            .build();
        // All: an untagged image with children is hidden otherwise.
        let images = ImageListOpts::builder()
            .all(true)
            .filter([ImageListFilter::LabelKeyVal(
                LABEL_HOME.into(),
                home.to_string(),
            )])
            .build();
        let (container_list, image_list) =
            (self.client.podman.containers(), self.client.podman.images());
        let (containers, images) = tokio::join!(
            self.client.list(|| container_list.list(&containers)),
            self.client.list(|| image_list.list(&images)),
        );
        let containers =
            containers.map_err(|fault| self.client.error("list the containers", fault))?;
        let images = images.map_err(|fault| self.client.error("list the images", fault))?;

        let mut found = Vec::new();
        for container in containers {
            let labels = container.labels.unwrap_or_default();
            let label = |name: &str| labels.get(name).map(String::as_str);
            if let Some(id) = container.id {
                found.push(Found::Container {
                    id: ContainerId::new(id),
                    kind: label(LABEL_TYPE).and_then(ObjectType::parse),
                    object: label(LABEL_OBJECT).map(ObjectId::new),
                });
            }
        }
        for image in images {
            let labels = image.labels.unwrap_or_default();
            let label = |name: &str| labels.get(name).map(String::as_str);
            let kind = label(LABEL_TYPE).and_then(ObjectType::parse);
            let object = label(LABEL_OBJECT).map(ObjectId::new);
            let mut names = image.repo_tags.unwrap_or_default();
            if names.is_empty() {
                names.extend(image.id);
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

/// Whether a connection to a container's address opens.
async fn reach(address: SocketAddr) -> bool {
    let connect = TcpStream::connect(address);
    matches!(
        tokio::time::timeout(CONNECT_LIMIT, connect).await,
        Ok(Ok(_))
    )
}
