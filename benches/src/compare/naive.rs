//! The naive way: what a script around the daemon does. Commit; remove by force; run again with the
//! same published port; wait until it answers. Bare API calls, one connection.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use async_trait::async_trait;
use statefork_runtime::ContainerId;

use super::answer::{Instance, first_answer};
use super::payload::{Archive, FOLDER};
use super::{Operation, Timed, Tool};
use crate::raw::Raw;
use crate::runtimes::Available;

/// A container with a published port.
pub(super) struct Naive {
    available: Available,
    raw: Raw,
    /// The container, and the repository of the images that are made of it.
    name: String,
    address: SocketAddr,
    instance: Instance,
    /// The image that every iteration stands on.
    start: String,
    start_bytes: u64,
    /// The image that is restored.
    target: Option<String>,
    /// The image that was made since.
    made: Option<String>,
    count: u32,
}

impl Naive {
    /// Runs a container from an image; `None` where the runtime has no daemon to be naive with. One
    /// that does not answer is removed again.
    pub(super) async fn up(available: &Available, name: &str, image: &str) -> Result<Option<Self>> {
        let Some(mut raw) = available.raw().await? else {
            return Ok(None);
        };
        let address = free_address()?;
        let start_bytes = raw.image_size(image).await?;
        raw.run_published(name, image, address).await?;
        let mut naive = Self {
            available: available.clone(),
            raw,
            name: name.to_owned(),
            address,
            instance: String::new(),
            start: image.to_owned(),
            start_bytes,
            target: None,
            made: None,
            count: 0,
        };
        match first_answer(address, None, Instant::now()).await {
            Ok((instance, _)) => {
                naive.instance = instance;
                Ok(Some(naive))
            }
            Err(error) => Err(match naive.down().await {
                Ok(()) => error,
                Err(left) => error.context(format!("{left:#}")),
            }),
        }
    }

    /// Commits the container to a new image.
    async fn commit(&mut self) -> Result<String> {
        self.count += 1;
        let (repository, tag) = (format!("localhost/{}", self.name), self.count.to_string());
        self.raw.commit_alone(&self.name, &repository, &tag).await?;
        Ok(format!("{repository}:{tag}"))
    }

    /// Puts a container from an image in the place of the one that runs, while a client waits for
    /// its first answer.
    async fn replace(&mut self, image: &str, begun: Instant) -> Result<Timed> {
        let (address, former) = (self.address, self.instance.clone());
        let client = tokio::spawn(async move { first_answer(address, Some(&former), begun).await });
        let done = async {
            self.raw.remove_by_force(&self.name).await?;
            self.raw.run_published(&self.name, image, address).await
        };
        if let Err(error) = done.await {
            client.abort();
            return Err(error);
        }
        let start = begun.elapsed();
        let (instance, usable) = client.await??;
        self.instance = instance;
        Ok(Timed {
            total: usable,
            start: Some(start),
            usable: Some(usable),
            logged: None,
            phases: Vec::new(),
            stored_bytes: None,
        })
    }

    async fn stored(&mut self, image: &str) -> Result<Option<u64>> {
        let bytes = self.raw.image_size(image).await?;
        Ok(Some(bytes.saturating_sub(self.start_bytes)))
    }

    async fn remove_made(&mut self) -> Result<()> {
        if let Some(image) = self.made.take() {
            self.raw.remove_image(&image).await?;
        }
        Ok(())
    }
}

/// An address of this machine on which nothing listens.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}

#[async_trait]
impl Tool for Naive {
    fn runtime(&self) -> &str {
        self.available.runtime.name()
    }

    fn is_naive(&self) -> bool {
        true
    }

    async fn begin(&mut self, operation: Operation, payload: &Archive) -> Result<()> {
        if matches!(operation, Operation::Restore | Operation::Warm) {
            self.prepare(payload).await?;
            self.target = Some(self.commit().await?);
        }
        Ok(())
    }

    async fn prepare(&mut self, payload: &Archive) -> Result<()> {
        // A daemon may have closed a connection that nobody used for a while.
        self.raw = self.available.raw().await?.context("no daemon")?;
        if let Some(archive) = payload.stream()? {
            let container = ContainerId::new(self.name.clone());
            let runtime = &self.available.runtime;
            runtime
                .copy_in(&container, Path::new(FOLDER), archive)
                .await?;
        }
        Ok(())
    }

    async fn run(&mut self, operation: Operation) -> Result<Timed> {
        let begun = Instant::now();
        if matches!(operation, Operation::Restore | Operation::Warm) {
            let target = self.target.clone().context("nothing to restore")?;
            return self.replace(&target, begun).await;
        }
        let image = self.commit().await?;
        let committed = begun.elapsed();
        self.made = Some(image.clone());
        let timed = match operation {
            Operation::Step => self.replace(&image, begun).await?,
            Operation::Snapshot | Operation::Restore | Operation::Warm => Timed {
                total: committed,
                start: None,
                usable: None,
                logged: None,
                phases: Vec::new(),
                stored_bytes: None,
            },
        };
        Ok(Timed {
            stored_bytes: self.stored(&image).await?,
            ..timed
        })
    }

    async fn tidy(&mut self, operation: Operation) -> Result<()> {
        if operation == Operation::Step {
            self.replace(&self.start.clone(), Instant::now()).await?;
        }
        self.remove_made().await
    }

    async fn end(&mut self) -> Result<()> {
        self.replace(&self.start.clone(), Instant::now()).await?;
        self.remove_made().await?;
        if let Some(image) = self.target.take() {
            self.raw.remove_image(&image).await?;
        }
        Ok(())
    }

    async fn down(&mut self) -> Result<()> {
        self.raw.remove_by_force(&self.name).await?;
        self.remove_made().await?;
        if let Some(image) = self.target.take() {
            self.raw.remove_image(&image).await?;
        }
        Ok(())
    }
}
