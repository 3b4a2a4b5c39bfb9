//! The connection to the daemon: made when first needed, each call bounded in time.

use std::future::Future;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

use crate::failure::{Cause, Failure};

/// bollard bounds the wait for an answer only, in whole seconds; [`Client::bounded`] bounds all of
/// a call, so bollard's own limit is out of the way (a year).
const NO_LIMIT_S: u64 = 365 * 24 * 3600;

/// A daemon.
pub(crate) struct Client {
    socket: String,
    api_timeout: Duration,
    docker: OnceLock<Docker>,
}

impl Client {
    pub(crate) fn new(socket: String, api_timeout: Duration) -> Self {
        Self {
            socket,
            api_timeout,
            docker: OnceLock::new(),
        }
    }

    /// The path of the daemon's socket.
    pub(crate) fn socket(&self) -> &str {
        &self.socket
    }

    /// Where the daemon answers, as a URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.socket)
    }

    /// The limit of each call.
    pub(crate) fn api_timeout(&self) -> Duration {
        self.api_timeout
    }

    /// The daemon's API. bollard wants the socket to exist, and opens a connection per call.
    pub(crate) fn docker(&self) -> Result<&Docker, Failure> {
        if let Some(docker) = self.docker.get() {
            return Ok(docker);
        }
        let connected = Docker::connect_with_unix(&self.socket, NO_LIMIT_S, API_DEFAULT_VERSION);
        let docker = connected.map_err(|error| {
            // bollard asks `exists`, which takes "permission denied" for "not found".
            let cause = match Path::new(&self.socket).metadata() {
                Err(error) => Cause::Socket(error),
                Ok(_) => Cause::Api(error),
            };
            self.failure("connect to the daemon", cause)
        })?;
        Ok(self.docker.get_or_init(|| docker))
    }

    /// Waits for a call, up to the limit.
    pub(crate) async fn bounded<T, E: Into<Cause>>(
        &self,
        op: &'static str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        self.bounded_by(op, self.api_timeout, call).await
    }

    /// Waits for a call that may rightly take long, up to `limit`.
    pub(crate) async fn bounded_by<T, E: Into<Cause>>(
        &self,
        op: &'static str,
        limit: Duration,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failure(op, error.into())),
            Err(_) => Err(self.failure(op, Cause::TimedOut(limit))),
        }
    }

    /// A failure of something asked of this daemon.
    pub(crate) fn failure(&self, op: &'static str, cause: Cause) -> Failure {
        Failure {
            op,
            endpoint: self.endpoint(),
            cause,
        }
    }
}
