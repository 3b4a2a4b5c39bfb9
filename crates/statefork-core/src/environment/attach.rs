//! `up --attach`: adopt a container that somebody else made.

use jiff::Timestamp;
use statefork_runtime::{Container, ContainerId, ObjectId, ObjectType};

use super::own_files::is_identity;
use super::up::{UpReport, check_settings};
use super::{Begun, Environment, new_object};
use crate::config::{Hooks, MachineId, Readiness, Standby};
use crate::error::{CoreError, Named, Result};
use crate::model::{ImageSource, LiveContainer, MAIN, OperationKind, Settings};
use crate::operation::Recorder;

/// Which container to adopt.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachRequest {
    /// Its name or id.
    pub container: String,
    /// How its application says that it is usable; `None`: by the default rule.
    pub readiness: Option<Readiness>,
    /// Which containers are prepared ahead; `None`: by default.
    pub standby: Option<Standby>,
    /// What is run in a container that comes from a snapshot.
    pub hooks: Hooks,
    /// Which machine id later containers have.
    pub machine_id: MachineId,
}

impl Environment {
    /// Makes an environment of a container that somebody else made. The container is not touched;
    /// what a later container would lack is told first. It is never removed by us.
    pub async fn attach(&self, request: &AttachRequest) -> Result<UpReport> {
        let begun = Begun::now();
        let outcome = self.attach_inner(begun, request).await;
        outcome
            .map_err(|error| error.in_operation(format!("attach container {}", request.container)))
    }

    async fn attach_inner(&self, begun: Begun, request: &AttachRequest) -> Result<UpReport> {
        let _locked = self
            .lock_named_branch(OperationKind::Up, MAIN.to_owned())
            .await?;
        if self.exists()? {
            return Err(CoreError::EnvironmentExists {
                environment: self.name.clone(),
            });
        }
        let id = ContainerId::new(&request.container);
        let adoption = self.runtime.adopt(&id).await?;
        let adoption = adoption.ok_or_else(|| CoreError::NotFound {
            what: Named::Container,
            name: request.container.clone(),
            nearest: None,
        })?;
        check_settings(&adoption.spec, &adoption.published)?;
        for obstacle in &adoption.obstacles {
            self.observer().notice(&format!(
                "a container that a restore makes will be without {obstacle}"
            ));
        }
        let container = adoption.container;
        // One that another environment of ours made says what it was there.
        let mut spec = adoption.spec;
        spec.mounts.retain(|mount| !is_identity(mount));
        let settings = Settings {
            image: ImageSource::Name(
                adoption
                    .image_name
                    .unwrap_or_else(|| container.image.to_string()),
            ),
            spec,
            readiness: Readiness::or_default(request.readiness.as_ref(), &adoption.published),
            ports: adoption.published,
            standby: request.standby.unwrap_or_default(),
            hooks: request.hooks.clone(),
            machine_id: request.machine_id,
        };
        let objects = [(ObjectType::Prepared, new_object())];
        let intent = self.intent(OperationKind::Up, begun, Some(MAIN), &objects);
        let mut recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = self
            .adopt(&mut recorder, &settings, &container, &objects[0].1)
            .await;
        let outcome = match outcome {
            Ok(report) => Ok(report),
            Err(error) => Err(error.and_then(self.remove_objects(&objects).await)),
        };
        let (report, timing) = recorder.finish(outcome)?;
        Ok(UpReport {
            timing: Some(timing),
            ..report
        })
    }

    async fn adopt(
        &self,
        recorder: &mut Recorder<'_>,
        settings: &Settings,
        container: &Container,
        prepared: &ObjectId,
    ) -> Result<UpReport> {
        let capabilities = self.capabilities().await?;
        let image = self
            .runtime
            .inspect_image(container.image.as_str())
            .await?
            .ok_or_else(|| CoreError::NotFound {
                what: Named::Image,
                name: container.image.to_string(),
                nearest: None,
            })?;
        let base = self.base(recorder, &image, settings, prepared).await?;
        let live = LiveContainer {
            id: container.id.clone(),
            object: new_object(),
            origin: base.id.clone(),
            spec: settings.spec.clone(),
            since: Timestamp::now(),
            attached: true,
            capture: None,
        };
        let record = self.store().create_environment(
            &self.name,
            self.runtime.name(),
            settings,
            &capabilities,
            &base,
        )?;
        let attached = async {
            let branch = self.branch(&record, MAIN)?;
            self.store().set_ports(branch.number, &settings.ports)?;
            self.store().set_container(branch.number, Some(&live))?;
            recorder.usable();
            Ok(UpReport {
                branch: branch.name,
                head: base.id.clone(),
                container: live.id.clone(),
                ports: settings.ports.clone(),
                timing: None,
            })
        };
        match attached.await {
            Ok(report) => Ok(report),
            Err(error) => {
                let removed = self.store().remove_environment(record.number);
                Err(CoreError::and_then(error, removed))
            }
        }
    }

    /// Leaves a container that is not ours, for good: stopped.
    pub(super) async fn leave(&self, container: &Container) -> statefork_runtime::Result<()> {
        self.observer().notice(&format!(
            "container {} is not ours: it is left stopped",
            container.name
        ));
        self.runtime
            .stop(&container.id, self.options.stop_timeout)
            .await
    }
}
