//! The runtime as a whole.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::time::Instant;

use async_trait::async_trait;
use statefork_runtime::{
    Capabilities, Found, HomeId, ObjectId, Result, Runtime, RuntimeError, RuntimeIdentity,
    RuntimeOptions, probe,
};

use crate::books::{Books, ContainerRecord};
use crate::container::not_found;
use crate::plan::ProcessRef;
use crate::storage::{Storage, blocking, remove_tree, system, system_at};
use crate::{LAYER_LIMIT, NAME};

/// How long a connection to a container's own address may take.
const REACH: Duration = Duration::from_secs(1);

/// The runtime over a storage.
#[derive(Clone, Debug)]
pub struct NativeRuntime {
    pub(crate) inner: Arc<Inner>,
}

/// What all calls share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) storage: Storage,
    pub(crate) helper: PathBuf,
    books: OnceLock<Books>,
    /// When the host was last begun to be made ready for containers, and was.
    pub(crate) led_out: tokio::sync::Mutex<Option<Instant>>,
}

/// Opens the runtime over the storage of the options, without touching that.
///
/// Errors: `Invalid` where the options name no storage or no helper.
pub fn open(options: &RuntimeOptions) -> Result<NativeRuntime> {
    let required = |path: &Option<PathBuf>, what: &str| {
        let path = path.clone().filter(|path| path.is_absolute());
        path.ok_or_else(|| RuntimeError::Invalid {
            what: what.to_owned(),
            reason: "an absolute path is needed".into(),
        })
    };
    Ok(NativeRuntime {
        inner: Arc::new(Inner {
            storage: Storage::new(required(&options.storage, "the storage of native")?),
            helper: required(&options.helper, "the helper of native")?,
            books: OnceLock::new(),
            led_out: tokio::sync::Mutex::default(),
        }),
    })
}

impl Inner {
    /// The books, opened when they are first needed.
    pub(crate) fn books(&self) -> Result<&Books> {
        if let Some(books) = self.books.get() {
            return Ok(books);
        }
        self.storage.make()?;
        let opened = Books::open(&self.storage.books())?;
        Ok(self.books.get_or_init(|| opened))
    }

    /// The container with this id or name. Errors: `NotFound`.
    pub(crate) fn container(
        &self,
        container: &statefork_runtime::ContainerId,
    ) -> Result<ContainerRecord> {
        let found = self.books()?.container(container)?;
        found.ok_or_else(|| not_found(container))
    }

    /// Removes the files of layers that nobody needs.
    pub(crate) fn sweep(&self) -> Result<()> {
        let books = self.books()?;
        let alive = |owner: &ProcessRef| owner.alive().unwrap_or(true);
        for layer in books.stranded(alive)? {
            for folder in [self.storage.layer(layer), self.storage.copies(layer)] {
                remove_tree(&folder)
                    .map_err(|error| system_at("remove a layer", &folder, error))?;
            }
            books.forget_layer(layer)?;
        }
        Ok(())
    }
}

/// This process.
pub(crate) fn this_process() -> Result<ProcessRef> {
    const OP: &str = "look at this process";
    let found = ProcessRef::of(std::process::id()).map_err(|error| system(OP, error))?;
    found.ok_or_else(|| system(OP, io::ErrorKind::NotFound.into()))
}

#[async_trait]
impl Runtime for NativeRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn identify(&self) -> Result<RuntimeIdentity> {
        let endpoint = self.inner.storage.root().display().to_string();
        if !rustix::process::geteuid().is_root() {
            return Err(RuntimeError::PermissionDenied {
                runtime: NAME,
                endpoint,
                source: "it makes containers as root only".into(),
            });
        }
        let inner = Arc::clone(&self.inner);
        blocking("open the storage", move || inner.books().map(drop)).await?;
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy().into_owned();
        let version = env!("CARGO_PKG_VERSION");
        Ok(RuntimeIdentity {
            version: version.to_owned(),
            fingerprint: format!("{version}; Linux {release}; {endpoint}"),
            endpoint,
        })
    }

    async fn probe(&self, object: &ObjectId) -> Result<Capabilities> {
        let reach = async |address: SocketAddr| {
            let connecting = tokio::net::TcpStream::connect(address);
            matches!(tokio::time::timeout(REACH, connecting).await, Ok(Ok(_)))
        };
        probe::by_doing(self, object, reach, Some(LAYER_LIMIT)).await
    }

    async fn find(&self, home: &HomeId) -> Result<Vec<Found>> {
        self.inner.books()?.find(home)
    }
}
