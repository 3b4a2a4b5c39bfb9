//! `up`: bring the application up, or see that it is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use statefork_runtime::{
    Capabilities, Container, ContainerId, ContainerSpec, ContainerState, Image, ImageId, Network,
    ObjectId, ObjectKind, ObjectType, Phase, PortMapping, PrepareRequest, RuntimeError,
};

use super::handover::Successor;
use super::settings::{port_differences, spec_differences};
use super::{Begun, Environment, new_object, short};
use crate::config::{Build, Hooks, MachineId, Readiness, Standby};
use crate::error::{CoreError, Named, Result};
use crate::model::{
    Branch, ImageSource, LiveContainer, MAIN, OperationKind, Settings, SnapshotId, SnapshotKind,
};
use crate::operation::{Recorder, Timing};
use crate::probing::probe_runtime;
use crate::store::{EnvironmentRecord, NewSnapshot};

/// Where the image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRequest {
    /// An image that the runtime has, by name or id.
    Name(String),
    /// A folder to build.
    Build(Build),
}

impl ImageRequest {
    fn source(&self) -> ImageSource {
        match self {
            Self::Name(name) => ImageSource::Name(name.clone()),
            Self::Build(build) => ImageSource::Build(PathBuf::from(&build.context)),
        }
    }
}

/// The application as it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Requested {
    /// The image; an environment that exists keeps its own.
    pub image: Option<ImageRequest>,
    /// The container's settings.
    pub spec: ContainerSpec,
    /// The branch's ports.
    pub ports: Vec<PortMapping>,
    /// How the application says that it is usable; `None`: by the default rule.
    pub readiness: Option<Readiness>,
    /// What is run in a container that comes from a snapshot.
    pub hooks: Hooks,
    /// Which machine id its containers have.
    pub machine_id: MachineId,
}

/// How to bring up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpRequest {
    /// The application; `None`: as it was.
    pub application: Option<Requested>,
    /// Which containers are prepared ahead; `None`: as before, or of a new environment by default.
    pub standby: Option<Standby>,
    /// Whether a container with other settings is replaced by one from the branch's head.
    pub recreate: bool,
}

/// An environment that is up.
#[derive(Clone, Debug, PartialEq)]
pub struct UpReport {
    /// The branch.
    pub branch: String,
    /// Its head.
    pub head: SnapshotId,
    /// Its container.
    pub container: ContainerId,
    /// Its ports.
    pub ports: Vec<PortMapping>,
    /// How long it took; `None` if it was up already.
    pub timing: Option<Timing>,
}

/// What has to be done.
enum Todo {
    Nothing(LiveContainer, Container),
    Start(LiveContainer),
    Launch(Option<(LiveContainer, Container)>),
}

impl Environment {
    /// Brings the application up on its branch and waits until it can be used; a new environment's
    /// is `main`.
    ///
    /// A running container is left as it is; one that ended is started, with its changes; where
    /// there is none, the branch's head is launched.
    pub async fn up(&self, request: &UpRequest) -> Result<UpReport> {
        let begun = Begun::now();
        let outcome = self.up_inner(begun, request).await;
        outcome.map_err(|error| error.in_operation(format!("bring environment {:?} up", self.name)))
    }

    async fn up_inner(&self, begun: Begun, request: &UpRequest) -> Result<UpReport> {
        let locked = self.lock_branch(OperationKind::Up).await?;
        match self.store().environment(&self.name, self.runtime.name())? {
            Some(record) => self.up_again(begun, request, record, &locked.branch).await,
            None if locked.branch == MAIN => self.up_first(begun, request).await,
            None => Err(CoreError::NotFound {
                what: Named::Branch,
                name: locked.branch,
                nearest: Some(MAIN.to_owned()),
            }),
        }
    }

    async fn up_first(&self, begun: Begun, request: &UpRequest) -> Result<UpReport> {
        let (requested, image) = request
            .application
            .as_ref()
            .and_then(|requested| Some((requested, requested.image.as_ref()?)))
            .ok_or_else(|| CoreError::NoImage {
                environment: self.name.clone(),
            })?;
        check_settings(&requested.spec, &requested.ports)?;
        let settings = Settings {
            image: image.source(),
            spec: requested.spec.clone(),
            ports: requested.ports.clone(),
            readiness: readiness(requested),
            standby: request.standby.unwrap_or_default(),
            hooks: requested.hooks.clone(),
            machine_id: requested.machine_id,
        };
        self.remove_left_builds(&self.left_builds()?).await?;
        let [build, prepared, container] = &[new_object(), new_object(), new_object()];
        let mut objects = vec![
            (ObjectType::Prepared, prepared.clone()),
            (ObjectType::Container, container.clone()),
        ];
        if let ImageRequest::Build(_) = image {
            objects.push((ObjectType::Build, build.clone()));
        }
        let intent = self.intent(OperationKind::Up, begun, Some(MAIN), &objects);
        let mut recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = async {
            let capabilities = self.capabilities().await?;
            let image = self.image(&recorder, image, build, &capabilities).await?;
            let base = self.base(&recorder, &image, &settings, prepared).await?;
            let record = self.store().create_environment(
                &self.name,
                self.runtime.name(),
                &settings,
                &capabilities,
                &base,
            )?;
            let launched = self.first_launch(&mut recorder, &record, container).await;
            match launched {
                Ok(report) => Ok(report),
                Err(error) => Err(error.and_then(self.store().remove_environment(record.number))),
            }
        };
        let outcome = match outcome.await {
            Ok(report) => Ok(report),
            Err(error) => {
                let removed = self.remove_objects(&objects).await;
                // One whose builder could not be cleaned up is the next command's matter.
                let forgotten = match error.leaves_undone() {
                    true => Ok(()),
                    false => self.store().forget_objects(&[build]),
                };
                Err(error.and_then(removed.and(forgotten)))
            }
        };
        let (report, timing) = recorder.finish(outcome)?;
        self.tend_behind(&report.branch, None).await;
        Ok(UpReport {
            timing: Some(timing),
            ..report
        })
    }

    async fn first_launch(
        &self,
        recorder: &mut Recorder<'_>,
        record: &EnvironmentRecord,
        container: &ObjectId,
    ) -> Result<UpReport> {
        let branch = self.branch(record, MAIN)?;
        let launched = async {
            let branch = self.take_ports(&branch, &record.settings.ports).await?;
            self.launch_head(recorder, record, &branch, None, container)
                .await
        };
        match launched.await {
            Ok(report) => Ok(report),
            Err(error) => Err(error.and_then(self.forget_shim(&branch).await)),
        }
    }

    async fn up_again(
        &self,
        begun: Begun,
        request: &UpRequest,
        mut record: EnvironmentRecord,
        branch: &str,
    ) -> Result<UpReport> {
        let branch = self.branch(&record, branch)?;
        if let Some(requested) = &request.application {
            check_settings(&requested.spec, &requested.ports)?;
            self.check_image(&record, requested)?;
        }
        let todo = self.todo(request, &branch).await?;
        if let Todo::Nothing(live, container) = todo {
            self.take_policy(request, &mut record).await?;
            self.tend_behind(&branch.name, None).await;
            let mut shim = self.shim(&branch).await?;
            self.retarget(&container, &branch, &mut shim).await?;
            return Ok(UpReport {
                branch: branch.name,
                head: branch.head,
                container: live.id,
                ports: branch.ports,
                timing: None,
            });
        }
        let objects = [(ObjectType::Container, new_object())];
        let intent = self.intent(OperationKind::Up, begun, Some(&branch.name), &objects);
        let mut recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = async {
            record.capabilities = self.capabilities().await?;
            let machine_id = record.settings.machine_id;
            if let Some(requested) = &request.application {
                record.settings.spec = requested.spec.clone();
                record.settings.ports = requested.ports.clone();
            }
            take_over(&mut record.settings, request);
            let report = match todo {
                Todo::Start(live) => {
                    let branch = self.take_ports(&branch, &branch.ports).await?;
                    self.run_again(&mut recorder, &record, &branch, &live)
                        .await?;
                    report(&branch, live)
                }
                Todo::Launch(old) => {
                    let asked = record.settings.ports.clone();
                    let ports = match port_differences(&branch.ports, &asked).is_empty() {
                        true => branch.ports.clone(),
                        false => asked,
                    };
                    let branch = self.take_ports(&branch, &ports).await?;
                    self.launch_head(&mut recorder, &record, &branch, old, &objects[0].1)
                        .await?
                }
                Todo::Nothing(..) => unreachable!("returned above"),
            };
            self.store().update_environment(
                record.number,
                &record.settings,
                &record.capabilities,
            )?;
            if record.settings.machine_id != machine_id {
                // What is prepared has the former one.
                self.end_standbys(&record, |_| true).await?;
            }
            Ok(report)
        };
        let outcome = outcome.await;
        let (report, timing) = recorder.finish(outcome)?;
        self.tend_behind(&report.branch, None).await;
        Ok(UpReport {
            timing: Some(timing),
            ..report
        })
    }

    /// What does not concern the container that runs holds from now on.
    async fn take_policy(&self, request: &UpRequest, record: &mut EnvironmentRecord) -> Result<()> {
        let is = record.settings.clone();
        take_over(&mut record.settings, request);
        if record.settings == is {
            return Ok(());
        }
        self.store()
            .update_environment(record.number, &record.settings, &record.capabilities)?;
        if record.settings.machine_id != is.machine_id {
            // What is prepared has the former one.
            self.end_standbys(record, |_| true).await?;
        }
        Ok(())
    }

    /// The graph's root never changes, so neither does the image.
    fn check_image(&self, record: &EnvironmentRecord, requested: &Requested) -> Result<()> {
        let Some(image) = &requested.image else {
            return Ok(());
        };
        let asked = image.source();
        if asked == record.settings.image {
            return Ok(());
        }
        Err(CoreError::SettingsDiffer {
            environment: self.name.clone(),
            differences: vec![format!(
                "its image is {}, not {asked}",
                record.settings.image
            )],
            recreate_helps: false,
        })
    }

    async fn todo(&self, request: &UpRequest, branch: &Branch) -> Result<Todo> {
        let Some(live) = branch.container.clone() else {
            return Ok(Todo::Launch(None));
        };
        let Some(container) = self.runtime.inspect(&live.id).await? else {
            self.observer().notice(&format!(
                "container {} was removed by somebody else: its changes since snapshot {} are lost",
                live.id.short(),
                live.origin
            ));
            return Ok(Todo::Launch(None));
        };
        let mut differences = Vec::new();
        if let Some(requested) = &request.application {
            differences = spec_differences(&live.spec, &requested.spec);
            differences.extend(port_differences(&branch.ports, &requested.ports));
        }
        match (differences.is_empty(), request.recreate) {
            (true, _) => {}
            (false, true) => return Ok(Todo::Launch(Some((live, container)))),
            (false, false) => {
                return Err(CoreError::SettingsDiffer {
                    environment: self.name.clone(),
                    differences,
                    recreate_helps: true,
                });
            }
        }
        Ok(match container.state {
            ContainerState::Running => Todo::Nothing(live, container),
            ContainerState::Paused => {
                self.runtime.unpause(&container.id).await?;
                Todo::Nothing(live, container)
            }
            ContainerState::Created | ContainerState::Exited { .. } => Todo::Start(live),
        })
    }

    async fn launch_head(
        &self,
        recorder: &mut Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
        old: Option<(LiveContainer, Container)>,
        object: &ObjectId,
    ) -> Result<UpReport> {
        let successor = Successor {
            snapshot: self.store().snapshot(record.number, &branch.head)?,
            spec: record.settings.spec.clone(),
            object: object.clone(),
            wait: false,
            is_new: old.is_none(),
        };
        let live = self
            .hand_over(recorder, record, branch, old, &successor)
            .await?;
        Ok(report(branch, live))
    }

    /// Listens on the ports asked for and keeps what was found for those that may be any.
    pub(super) async fn take_ports(
        &self,
        branch: &Branch,
        ports: &[PortMapping],
    ) -> Result<Branch> {
        let mut branch = branch.clone();
        branch.ports = match self.listen(&branch, ports).await? {
            Some((_, bound)) => bound,
            None => Vec::new(),
        };
        self.store().set_ports(branch.number, &branch.ports)?;
        Ok(branch)
    }

    /// What the runtime can do, from an earlier probe of the same daemon if there is one.
    pub(super) async fn capabilities(&self) -> Result<Capabilities> {
        let identity = self.runtime.identify().await?;
        let name = self.runtime.name();
        if let Some(known) = self.store().probe(name, &identity.fingerprint)? {
            return Ok(known);
        }
        self.observer()
            .progress(&format!("finding out what {name} can do here"));
        let capabilities = probe_runtime(self.store(), self.runtime.as_ref()).await?;
        self.store()
            .keep_probe(name, &identity.fingerprint, &capabilities)?;
        Ok(capabilities)
    }

    async fn image(
        &self,
        recorder: &Recorder<'_>,
        request: &ImageRequest,
        object: &ObjectId,
        capabilities: &Capabilities,
    ) -> Result<Image> {
        let name = match request {
            ImageRequest::Name(name) => name.clone(),
            ImageRequest::Build(build) => {
                let building = self.build(build, object, capabilities);
                let id = recorder.phases.time(Phase::Build, building).await?;
                id.to_string()
            }
        };
        let image = self.runtime.inspect_image(&name).await?;
        image.ok_or_else(|| {
            RuntimeError::NotFound {
                object: ObjectKind::Image,
                name,
            }
            .into()
        })
    }

    /// The root of the graph: the image, with its declared volumes part of what is captured.
    pub(super) async fn base(
        &self,
        recorder: &Recorder<'_>,
        image: &Image,
        settings: &Settings,
        object: &ObjectId,
    ) -> Result<NewSnapshot> {
        let mut id: ImageId = image.id.clone();
        if !image.config.volumes.is_empty() {
            let request = PrepareRequest {
                name: self.image_name(&format!("base-{}", short(object))),
                labels: self.owner(object).labels(ObjectType::Prepared),
            };
            let preparing = self.runtime.prepare_image(&image.id, &request);
            id = recorder.phases.time(Phase::Prepare, preparing).await?;
        }
        Ok(NewSnapshot {
            id: SnapshotId::random(),
            parent: None,
            kind: SnapshotKind::Filesystem,
            message: None,
            created_at: Timestamp::now(),
            size_bytes: image.size_bytes,
            spec: settings.spec.clone(),
            not_held: Vec::new(),
            capture: self.runtime.of_image(&id),
            labels: BTreeMap::new(),
            object: None,
            stands_on: None,
        })
    }
}

fn report(branch: &Branch, live: LiveContainer) -> UpReport {
    UpReport {
        branch: branch.name.clone(),
        head: live.origin,
        container: live.id,
        ports: branch.ports.clone(),
        timing: None,
    }
}

/// Takes over what concerns later containers, and not the one that is there.
fn take_over(settings: &mut Settings, request: &UpRequest) {
    if let Some(requested) = &request.application {
        settings.readiness = readiness(requested);
        settings.hooks = requested.hooks.clone();
        settings.machine_id = requested.machine_id;
    }
    if let Some(standby) = request.standby {
        settings.standby = standby;
    }
}

fn readiness(requested: &Requested) -> Readiness {
    Readiness::or_default(requested.readiness.as_ref(), &requested.ports)
}

/// Refuses settings that contradict each other before anything is made.
pub(super) fn check_settings(spec: &ContainerSpec, ports: &[PortMapping]) -> Result<()> {
    let refuse = |reason: &str| {
        Err(CoreError::InvalidSettings {
            what: "published ports".to_owned(),
            reason: reason.to_owned(),
        })
    };
    match &spec.network {
        _ if ports.is_empty() => Ok(()),
        Network::Bridge | Network::Named(_) => Ok(()),
        Network::None => refuse("network none has no address to forward to"),
        Network::Host => refuse("with network host the application listens on the host itself"),
    }
}
