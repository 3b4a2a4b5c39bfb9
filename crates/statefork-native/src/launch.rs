//! Making a container and starting it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use statefork_runtime::{
    Container, ContainerId, ImageId, Labels, LaunchRequest, MountSource, Network, Phase, Phases,
    Result, RuntimeError,
};

use crate::books::{Books, ContainerRecord, NewContainer};
use crate::captures::lock;
use crate::container::{cgroup_path, describe, look};
use crate::network::{self, Lease, Subnet};
use crate::plan::{MountFrom, MountPlan, NetworkPlan, Plan, ProcessRef, file};
use crate::runtime::Inner;
use crate::settings::{check_container_name, hostname, process};
use crate::spawn::{self, StartError};
use crate::storage::{blocking, system, system_at};
use crate::tree::prepare_upper;
use crate::{new_id, volumes};

const CREATE: &str = "create a container";
const START: &str = "start a container";
/// The setting with the addresses of the storage's containers.
const SUBNET: &str = "network.subnet";
/// Where systemd-resolved names the servers that it asks itself.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// Makes a container of an image and starts it. After an error there is none.
pub(crate) async fn launch(
    inner: &Arc<Inner>,
    image: &ImageId,
    request: &LaunchRequest,
    phases: &Phases,
) -> Result<Container> {
    let record = phases
        .time(Phase::Create, create(inner, image, request))
        .await?;
    let started = phases.time(Phase::Start, start(inner, &record)).await;
    match started {
        Ok(()) => Ok(describe(&record, look(&inner.storage, &record)?)),
        Err(first) => Err(first.and_then(inner.remove_container(&record.id).await)),
    }
}

async fn create(
    inner: &Arc<Inner>,
    image: &ImageId,
    request: &LaunchRequest,
) -> Result<ContainerRecord> {
    check_container_name(&request.name)?;
    if !request.publish.is_empty() {
        return Err(RuntimeError::Unsupported {
            op: "publish ports",
            reason: "a container of native is reached at its own address".into(),
        });
    }
    if let Network::Named(name) = &request.spec.network {
        return Err(RuntimeError::Invalid {
            what: format!("network {name}"),
            reason: "native has no networks by name: bridge, none and host are there".into(),
        });
    }
    let id = ContainerId::new(new_id());
    hostname(&id, &request.spec)?;
    let addresses = match request.spec.network.has_addresses() {
        true => Some(subnet(inner).await?),
        false => None,
    };
    // The books first: whatever is left of it is found by its labels.
    let record = {
        let (inner, image, request) = (Arc::clone(inner), image.clone(), request.clone());
        blocking(CREATE, move || {
            inner.enter_container(&id, &image, &request, addresses)
        })
        .await?
    };
    let folder = inner.storage.container(&record.id);
    let layers = inner.folders(&record.layers);
    let made = blocking(CREATE, move || {
        make_folder(&folder, layers.first().map(|layer| layer.as_path()))
            .map_err(|error| system_at(CREATE, &folder, error))
    });
    match made.await {
        Ok(()) => Ok(record),
        Err(first) => Err(first.and_then(inner.remove_container(&record.id).await)),
    }
}

/// The addresses of this storage, chosen when the first is needed.
async fn subnet(inner: &Inner) -> Result<Subnet> {
    let books = inner.books()?;
    if let Some(known) = known_subnet(books)? {
        return Ok(known);
    }
    let free = network::free_subnet(&[]).await;
    let free = free.map_err(|error| system("choose addresses", error))?;
    read_subnet(&books.settle(SUBNET, &free.to_string())?)
}

/// The addresses of this storage, if they have been chosen.
pub(crate) fn known_subnet(books: &Books) -> Result<Option<Subnet>> {
    let known = books.setting(SUBNET)?;
    known.map(|known| read_subnet(&known)).transpose()
}

fn read_subnet(text: &str) -> Result<Subnet> {
    text.parse().map_err(|_| RuntimeError::Damaged {
        what: "the books of the storage".into(),
        reason: format!("{text:?} is no range of addresses"),
    })
}

impl Inner {
    /// Enters a container in the books; makes the volumes that it mounts.
    fn enter_container(
        &self,
        id: &ContainerId,
        image: &ImageId,
        request: &LaunchRequest,
        addresses: Option<Subnet>,
    ) -> Result<ContainerRecord> {
        let books = self.books()?;
        for mount in &request.spec.mounts {
            if let MountSource::Volume(name) = &mount.source {
                volumes::make(&self.storage, name)?;
            }
        }
        let found = books.image(image.as_str())?;
        let mut labels = found.map_or_else(Labels::new, |image| image.config.image.labels);
        labels.extend(request.labels.clone());
        books.add_container(&NewContainer {
            id,
            name: &request.name,
            image,
            spec: &request.spec,
            labels: &labels,
            addresses,
        })
    }

    /// What the helper is told.
    fn plan(&self, record: &ContainerRecord) -> Result<Plan> {
        let image = self.books()?.image(record.image.as_str())?;
        let config = image.map(|image| image.config.image).unwrap_or_default();
        let hostname = hostname(&record.id, &record.spec)?;
        let mut mounts = Vec::new();
        for mount in &record.spec.mounts {
            let source = match &mount.source {
                MountSource::Bind(path) => MountFrom::Host(path.clone()),
                MountSource::Volume(name) => MountFrom::Host(self.storage.volume(name)),
                MountSource::Tmpfs { size } => MountFrom::Memory(*size),
            };
            if let MountFrom::Host(path) = &source
                && !path.exists()
            {
                return Err(RuntimeError::Invalid {
                    what: format!("mount source {}", path.display()),
                    reason: "there is no such file or folder".into(),
                });
            }
            mounts.push(MountPlan {
                source,
                target: mount.target.clone(),
                read_only: mount.read_only,
            });
        }
        let layers = record.layers.iter().rev();
        Ok(Plan {
            folder: self.storage.container(&record.id),
            layers: self.storage.layers(),
            lower: layers.map(|layer| layer.to_string().into()).collect(),
            process: process(&record.spec, &config, &hostname)?,
            init: record.spec.init,
            hostname,
            mounts,
            network: match record.spec.network {
                Network::Host => NetworkPlan::Host,
                Network::None => NetworkPlan::Loopback,
                Network::Bridge | Network::Named(_) => NetworkPlan::Own,
            },
            limits: record.spec.limits,
            cgroup: cgroup_path(&record.id),
        })
    }
}

fn make_folder(folder: &Path, uppermost: Option<&Path>) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)?;
    let upper = folder.join(file::UPPER);
    match uppermost {
        Some(uppermost) => prepare_upper(&upper, uppermost)?,
        None => std::fs::create_dir(&upper)?,
    }
    std::fs::create_dir(folder.join(file::WORK))
}

/// Starts a container that does not run, with its changes.
pub(crate) async fn start(inner: &Arc<Inner>, record: &ContainerRecord) -> Result<()> {
    let folder = inner.storage.container(&record.id);
    let _one_at_a_time = {
        let folder = folder.clone();
        blocking(START, move || lock(&folder)).await?
    };
    if look(&inner.storage, record)?.init.is_some() {
        return Ok(());
    }
    let plan = inner.plan(record)?;
    for name in [file::RUN, file::EXIT] {
        let path = folder.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(system_at(START, &path, error));
            }
            _ => {}
        }
    }
    let lease = match record.address {
        Some(address) => {
            let subnet = subnet(inner).await?;
            lead_out(inner, &subnet).await?;
            Some(lease(&record.id, address, subnet))
        }
        None => None,
    };
    write_names(&folder, &plan.hostname, record)
        .map_err(|error| system_at(START, &folder, error))?;
    let attach = async |init: &ProcessRef| match &lease {
        Some(lease) => {
            match network::attach(init.pid, lease).await {
                // That of the former run, which the kernel has not taken away yet.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    network::detach(&lease.link).await?;
                    network::attach(init.pid, lease).await
                }
                attached => attached,
            }
        }
        None => Ok(()),
    };
    let started = spawn::start(&inner.helper, &plan, attach).await;
    started
        .map(drop)
        .map_err(|error| refused(START, &plan.process.argv, error))
}

/// Has the host keep the containers' addresses to itself and route for them, the latter where it can:
/// without a way out they run all the same.
///
/// Of containers that are started at once some share one such time: what was begun for another one
/// after this one had been entered in the books stays as long as this one does.
async fn lead_out(inner: &Arc<Inner>, subnet: &Subnet) -> Result<()> {
    let asked = Instant::now();
    let mut last = inner.led_out.lock().await;
    if last.is_some_and(|begun| begun >= asked) {
        return Ok(());
    }
    let begun = Instant::now();
    let locking = Arc::clone(inner);
    let _lock = blocking(START, move || locking.storage.lock_network()).await?;
    let held = network::hold(subnet).await;
    held.map_err(|error| system(START, error))?;
    let table = network::table(inner.storage.root());
    if let Err(error) = network::enable_outbound(&table, subnet).await {
        tracing::warn!(%error, "containers have no way out of this machine");
    }
    *last = Some(begun);
    Ok(())
}

fn lease(id: &ContainerId, address: std::net::Ipv4Addr, subnet: Subnet) -> Lease {
    Lease {
        link: format!("sf{}", id.short()),
        address,
        gateway: subnet.gateway(),
    }
}

/// The files of `/etc` that belong to the runtime.
fn write_names(folder: &Path, hostname: &str, record: &ContainerRecord) -> io::Result<()> {
    if record.spec.network == Network::Host {
        return Ok(());
    }
    let etc = folder.join(file::ETC);
    match std::fs::create_dir(&etc) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::write(etc.join("hostname"), format!("{hostname}\n"))?;
    std::fs::write(etc.join("hosts"), network::hosts(hostname, record.address))?;
    let host = read_if_there(Path::new("/etc/resolv.conf"))?.unwrap_or_default();
    let upstream = read_if_there(Path::new(UPSTREAM))?;
    let names = network::resolv_conf(&host, upstream.as_deref());
    std::fs::write(etc.join("resolv.conf"), names)
}

fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What it means for `op` that a process could not be started.
pub(crate) fn refused(op: &'static str, argv: &[String], error: StartError) -> RuntimeError {
    use crate::plan::FailureKind;

    let failure = match error {
        StartError::Refused(failure) => failure,
        StartError::Helper(error) | StartError::Network(error) => return system(op, error),
        StartError::Died => return system(op, io::Error::other(error)),
    };
    let command = argv.join(" ");
    match failure.kind {
        FailureKind::ProgramNotFound | FailureKind::ProgramNotExecutable => {
            RuntimeError::StartFailed {
                command,
                reason: failure.message,
            }
        }
        FailureKind::Setting | FailureKind::Mount => RuntimeError::Invalid {
            what: "a setting of the container".into(),
            reason: failure.message,
        },
        FailureKind::StorageFull => system(op, io::ErrorKind::StorageFull.into()),
        FailureKind::System | FailureKind::NotRunning => RuntimeError::StartFailed {
            command,
            reason: failure.message,
        },
    }
}

#[cfg(test)]
mod tests;
