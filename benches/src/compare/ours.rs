//! The orchestrator on a runtime.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use statefork_core::config::{Check, Standby};
use statefork_core::environment::{RestoreRequest, SnapshotRequest, UpRequest};
use statefork_core::{Environment, Timing};
use statefork_runtime::{ContainerSpec, Phase, Runtime};

use super::answer::{Instance, first_answer};
use super::payload::{Archive, FOLDER};
use super::{Operation, Payload, Timed, Tool};
use crate::fixture::{PORT, application, environment, purge};
use crate::versioned::until_prepared;

/// How long it may take until a container is prepared.
const PATIENCE: Duration = Duration::from_secs(60);

/// An environment that is up, with its head at a depth.
pub(super) struct Ours {
    runtime: Arc<dyn Runtime>,
    environment: Environment,
    address: SocketAddr,
    instance: Instance,
    /// The snapshot that every iteration stands on.
    start: String,
    /// The snapshot that is restored.
    target: Option<String>,
    /// Snapshots that were made since and are still there, the newest last.
    made: Vec<String>,
}

impl Ours {
    /// Brings an environment up. The next snapshot is at the depth, at 1 the first after `base`.
    /// After an error nothing is left of it.
    pub(super) async fn up(
        runtime: Arc<dyn Runtime>,
        home: &Path,
        name: &str,
        image: &str,
        depth: u32,
    ) -> Result<Self> {
        let environment = environment(home, runtime.clone(), name)?;
        match Self::bring_up(runtime, &environment, image, depth).await {
            Err(error) if environment.exists()? => Err(match purge(&environment).await {
                Ok(()) => error,
                Err(left) => error.context(format!("{left:#}")),
            }),
            outcome => outcome,
        }
    }

    async fn bring_up(
        runtime: Arc<dyn Runtime>,
        environment: &Environment,
        image: &str,
        depth: u32,
    ) -> Result<Self> {
        let check = Check::Http {
            port: PORT,
            path: "/health".to_owned(),
        };
        let request = application(image, ContainerSpec::default(), check)?;
        let up = environment.up(&request).await?;
        let mut start = up.head.to_string();
        let payload = Archive::of(Payload::OneMegabyte)?;
        for _ in 1..depth {
            write(environment, &payload).await?;
            let step = environment.step(&SnapshotRequest::default()).await?;
            start = step.snapshot.id.to_string();
        }
        let address = up.ports.first().context("no port")?.host_address();
        let (instance, _) = first_answer(address, None, Instant::now()).await?;
        Ok(Self {
            runtime,
            environment: environment.clone(),
            address,
            instance,
            start,
            target: None,
            made: Vec::new(),
        })
    }

    /// The snapshot that every iteration stands on; `base` at depth 1.
    pub(super) fn start(&self) -> &str {
        &self.start
    }

    async fn snapshot(&mut self) -> Result<Timed> {
        let begun = Instant::now();
        let taken = self
            .environment
            .snapshot(&SnapshotRequest::default())
            .await?;
        let total = begun.elapsed();
        self.made.push(taken.snapshot.id.to_string());
        let timed = Timed {
            total,
            start: None,
            usable: None,
            logged: None,
            phases: Vec::new(),
            stored_bytes: Some(taken.snapshot.size_bytes),
        };
        self.logged(timed, &taken.timing)
    }

    /// Does what leads to a new container, while a client waits for its first answer.
    async fn replace(&mut self, operation: Operation) -> Result<Timed> {
        let (address, former) = (self.address, self.instance.clone());
        let begun = Instant::now();
        let client = tokio::spawn(async move { first_answer(address, Some(&former), begun).await });
        let done = match (operation, &self.target) {
            (Operation::Restore | Operation::Warm, Some(target)) => {
                let request = RestoreRequest::to(target);
                let restored = self.environment.restore(&request).await;
                restored.map(|restored| (restored.timing, None))
            }
            _ => {
                let stepped = self.environment.step(&SnapshotRequest::default()).await;
                stepped.map(|stepped| (stepped.timing, Some(stepped.snapshot)))
            }
        };
        let total = begun.elapsed();
        let (timing, snapshot) = match done {
            Ok(done) => done,
            Err(error) => {
                client.abort();
                return Err(error.into());
            }
        };
        let (instance, usable) = client.await??;
        self.instance = instance;
        ensure!(
            timing.warm == Some(operation == Operation::Warm),
            "the {operation} was not what it was to be: warm is {:?}",
            timing.warm
        );
        self.made
            .extend(snapshot.as_ref().map(|snapshot| snapshot.id.to_string()));
        let timed = Timed {
            total,
            start: Some(started(&timing)),
            usable: Some(usable),
            logged: None,
            phases: Vec::new(),
            stored_bytes: snapshot.map(|snapshot| snapshot.size_bytes),
        };
        self.logged(timed, &timing)
    }

    /// With what the operation log has of it.
    fn logged(&self, timed: Timed, timing: &Timing) -> Result<Timed> {
        let log = self.environment.history()?;
        let row = log
            .into_iter()
            .rev()
            .find(|row| row.seq == timing.operation);
        let row = row.context("the operation is not in the log")?;
        Ok(Timed {
            logged: row.duration,
            phases: row.phases,
            ..timed
        })
    }

    async fn go_back(&mut self) -> Result<()> {
        self.environment
            .restore(&RestoreRequest::to(&self.start))
            .await?;
        let (instance, _) =
            first_answer(self.address, Some(&self.instance), Instant::now()).await?;
        self.instance = instance;
        Ok(())
    }

    /// Chooses what is prepared from now on.
    async fn keep_prepared(&self, standby: Standby) -> Result<()> {
        let request = UpRequest {
            standby: Some(standby),
            ..UpRequest::default()
        };
        self.environment.up(&request).await?;
        Ok(())
    }

    /// Returns once a container is prepared from the target.
    async fn until_prepared(&self) -> Result<()> {
        let target = self.target.as_deref().context("nothing to prepare from")?;
        until_prepared(&self.environment, target, PATIENCE).await
    }

    /// Removes what was made, but for the newest `spared`.
    async fn remove_made(&mut self, spared: usize) -> Result<()> {
        while self.made.len() > spared {
            self.environment.remove_snapshot(&self.made[0]).await?;
            self.made.remove(0);
        }
        Ok(())
    }
}

async fn write(environment: &Environment, payload: &Archive) -> Result<()> {
    if let Some(archive) = payload.stream()? {
        environment.archive_in(archive, Path::new(FOLDER)).await?;
    }
    Ok(())
}

/// Until the new container had been started: what came before it could be used, less what was
/// waited for afterwards.
fn started(timing: &Timing) -> Duration {
    let after = [Phase::Ready, Phase::Switch];
    let waited = timing
        .phases
        .iter()
        .filter(|(phase, _)| after.contains(phase));
    let waited: Duration = waited.map(|(_, took)| *took).sum();
    timing.usable.saturating_sub(waited)
}

#[async_trait]
impl Tool for Ours {
    fn runtime(&self) -> &str {
        self.runtime.name()
    }

    fn is_naive(&self) -> bool {
        false
    }

    async fn begin(&mut self, operation: Operation, payload: &Archive) -> Result<()> {
        if matches!(operation, Operation::Restore | Operation::Warm) {
            self.prepare(payload).await?;
            let kept = self
                .environment
                .snapshot(&SnapshotRequest::default())
                .await?;
            self.target = Some(kept.snapshot.id.to_string());
        }
        if operation == Operation::Warm {
            self.keep_prepared(Standby::default()).await?;
            self.until_prepared().await?;
        }
        Ok(())
    }

    async fn prepare(&mut self, payload: &Archive) -> Result<()> {
        write(&self.environment, payload).await
    }

    async fn run(&mut self, operation: Operation) -> Result<Timed> {
        match operation {
            Operation::Snapshot => self.snapshot().await,
            Operation::Step | Operation::Restore | Operation::Warm => self.replace(operation).await,
        }
    }

    async fn tidy(&mut self, operation: Operation) -> Result<()> {
        match operation {
            // The branch's head stays; the next one is as deep in the runtime, since the container
            // is the same.
            Operation::Snapshot => self.remove_made(1).await?,
            Operation::Step => {
                self.go_back().await?;
                self.remove_made(0).await?;
            }
            Operation::Restore | Operation::Warm => {}
        }
        // What is left to a worker must not disturb the next tool.
        self.environment.tend().await?;
        match operation {
            Operation::Warm => self.until_prepared().await,
            _ => Ok(()),
        }
    }

    async fn end(&mut self) -> Result<()> {
        self.keep_prepared(Standby::NONE).await?;
        self.go_back().await?;
        self.remove_made(0).await?;
        if let Some(target) = self.target.take() {
            self.environment.remove_snapshot(&target).await?;
        }
        Ok(())
    }

    async fn down(&mut self) -> Result<()> {
        purge(&self.environment).await
    }
}
