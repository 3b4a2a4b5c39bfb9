//! The two clients of the service, the limit of each call, and the errors that any call can end
//! with.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use podman_api::Podman;
use podman_api::api::{Container, Exec, Image};
use serde::de::DeserializeOwned;
use statefork_runtime::{ContainerId, ObjectKind, RuntimeError};

use crate::cause::Cause;
use crate::fault::Fault;
use crate::raw::{Payload, Raw, encode};
use crate::{NAME, endpoint};

/// How long to wait before asking a second time, and at most before asking the last time.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_millis(128);

/// How to talk to the service.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// What podman-api does right.
    pub(crate) podman: Podman,
    /// The rest.
    pub(crate) raw: Raw,
    /// The limit of each call.
    pub(crate) limit: Duration,
    /// Where the service listens, as a URL.
    pub(crate) endpoint: String,
}

impl Client {
    pub(crate) fn new(socket: PathBuf, limit: Duration) -> Self {
        Self {
            podman: Podman::unix(&socket),
            endpoint: endpoint::url(&socket),
            raw: Raw::new(socket),
            limit,
        }
    }

    /// Waits for a call, at most as long as one may take.
    pub(crate) async fn call<T, E: Into<Fault>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Fault> {
        self.call_for(Duration::ZERO, call).await
    }

    /// The same, for a call that is asked to wait for `grace` itself.
    pub(crate) async fn call_for<T, E: Into<Fault>>(
        &self,
        grace: Duration,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Fault> {
        let limit = self.limit.saturating_add(grace);
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(Fault::Late(limit)),
        }
    }

    /// Waits for a call that changes nothing; asks again where something that the service looked
    /// at went away meanwhile.
    pub(crate) async fn read<T, E, F>(&self, call: impl Fn() -> F) -> Result<T, Fault>
    where
        E: Into<Fault>,
        F: Future<Output = Result<T, E>>,
    {
        self.read_again(call, |cause| cause == Cause::Passing).await
    }

    /// The same for a list: nobody asked for one thing in particular, so that one which is not
    /// there any more is no answer.
    pub(crate) async fn list<T, E, F>(&self, call: impl Fn() -> F) -> Result<T, Fault>
    where
        E: Into<Fault>,
        F: Future<Output = Result<T, E>>,
    {
        self.read_again(call, |cause| {
            matches!(
                cause,
                Cause::Passing | Cause::NoContainer | Cause::NoImage | Cause::NoLayer
            )
        })
        .await
    }

    async fn read_again<T, E, F>(
        &self,
        call: impl Fn() -> F,
        passes: impl Fn(Cause) -> bool,
    ) -> Result<T, Fault>
    where
        E: Into<Fault>,
        F: Future<Output = Result<T, E>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.call(call()).await {
                Err(fault) if passes(fault.cause()) && pause <= LAST_PAUSE => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
    }

    /// A raw request without a payload, for an answer in JSON; it changes nothing.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        self.read(|| self.raw.json(Method::GET, path, Payload::Empty))
            .await
    }

    /// A raw request that has no answer but its status.
    pub(crate) async fn post(&self, path: &str) -> Result<(), Fault> {
        self.call(self.raw.send(Method::POST, path, Payload::Empty))
            .await
            .map(drop)
    }

    /// The handle of a container.
    pub(crate) fn container(&self, id: &ContainerId) -> Container {
        self.podman.containers().get(encode(id.as_str()))
    }

    /// The handle of an image.
    pub(crate) fn image(&self, name: &str) -> Image {
        self.podman.images().get(encode(name))
    }

    /// The handle of a command.
    pub(crate) fn exec(&self, id: &str) -> Exec {
        self.podman.execs().get(id)
    }

    /// The error of a call where nothing particular is known: `op` is a verb with its object.
    pub(crate) fn error(&self, op: &'static str, fault: Fault) -> RuntimeError {
        match fault {
            Fault::Connect(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                RuntimeError::PermissionDenied {
                    runtime: NAME,
                    endpoint: self.endpoint.clone(),
                    source: source.into(),
                }
            }
            Fault::Connect(source) => RuntimeError::Unreachable {
                runtime: NAME,
                endpoint: self.endpoint.clone(),
                source: source.into(),
            },
            Fault::Refused {
                cause: Cause::StorageFull,
                ..
            } => RuntimeError::StorageFull { op, runtime: NAME },
            Fault::Refused {
                status, message, ..
            } => RuntimeError::Daemon {
                op,
                status: Some(status),
                message,
                source: None,
            },
            Fault::Broken(source) => RuntimeError::Daemon {
                op,
                status: None,
                message: "the connection or the answer broke".into(),
                source: Some(source),
            },
            Fault::Late(after) => RuntimeError::TimedOut { op, after },
        }
    }

    /// The error of a call about a container, which may not be there.
    pub(crate) fn container_error(
        &self,
        op: &'static str,
        container: &ContainerId,
        fault: Fault,
    ) -> RuntimeError {
        match fault.cause() {
            Cause::NoContainer => no_container(container),
            _ => self.error(op, fault),
        }
    }

    /// The error of a call about an image, which may not be there or be in use.
    pub(crate) fn image_error(
        &self,
        op: &'static str,
        object: ObjectKind,
        name: &str,
        fault: Fault,
    ) -> RuntimeError {
        let name = name.to_owned();
        match fault.cause() {
            Cause::NoImage => RuntimeError::NotFound { object, name },
            Cause::ImageInUse => RuntimeError::Conflict {
                object,
                name,
                reason: fault.message(),
            },
            _ => self.error(op, fault),
        }
    }
}

/// The error for a container that is not there.
pub(crate) fn no_container(container: &ContainerId) -> RuntimeError {
    RuntimeError::NotFound {
        object: ObjectKind::Container,
        name: container.to_string(),
    }
}
