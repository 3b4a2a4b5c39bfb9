//! The kinds of failures, as programs see them: `error.kind` of the JSON document.
//!
//! `docs/errors.md` lists them; a test keeps the list complete.

use statefork_core::CoreError;
use statefork_core::config::{ConfigError, ConfigErrorKind, Problem};
use statefork_runtime::{ErrorKind as RuntimeKind, ObjectKind, RuntimeError};
use statefork_shim::ShimError;

use crate::failure::Failure;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $word:literal,)*) => {
        /// What went wrong, so far that code can decide on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// The word for it in JSON.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)*
                }
            }

            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$kind,)*];
        }
    };
}

kinds! {
    /// The command line cannot be read.
    Usage => "usage",
    /// A value on the command line cannot be read.
    InvalidValue => "invalid_value",
    /// A text that is no revision.
    InvalidRevision => "invalid_revision",
    /// A prefix that fits several snapshots.
    AmbiguousRevision => "ambiguous_revision",
    /// A text that is no name.
    InvalidName => "invalid_name",
    /// A runtime that does not exist, on the command line.
    UnknownRuntime => "unknown_runtime",
    /// Nobody said which image to start.
    NoImage => "no_image",
    /// Settings that exclude each other.
    InvalidSettings => "invalid_settings",
    /// No such snapshot.
    SnapshotNotFound => "snapshot_not_found",
    /// No such branch.
    BranchNotFound => "branch_not_found",
    /// No such tag.
    TagNotFound => "tag_not_found",
    /// No such environment.
    EnvironmentNotFound => "environment_not_found",
    /// An environment is there where a new one was to be made.
    EnvironmentExists => "environment_exists",
    /// No such image.
    ImageNotFound => "image_not_found",
    /// No such container.
    ContainerNotFound => "container_not_found",
    /// The environment has no container.
    NotUp => "not_up",
    /// The container was removed behind our back.
    ContainerLost => "container_lost",
    /// The runtime cannot do this.
    Unsupported => "unsupported",
    /// Nobody answers at the runtime's socket.
    RuntimeUnreachable => "runtime_unreachable",
    /// The runtime's socket may not be used.
    PermissionDenied => "permission_denied",
    /// The helper program is missing.
    HelperMissing => "helper_missing",
    /// A program that the runtime needs is not installed.
    ProgramMissing => "program_missing",
    /// Nothing that builds images was found.
    BuilderMissing => "builder_missing",
    /// The environment exists with other settings.
    SettingsDiffer => "settings_differ",
    /// A tag or a branch has the name.
    NameTaken => "name_taken",
    /// What was asked for would take the branch `main` away.
    MainBranch => "main_branch",
    /// A branch stands on the snapshot, or it is the base.
    SnapshotInUse => "snapshot_in_use",
    /// Another process holds the lock.
    Locked => "locked",
    /// A port of the host is in use.
    PortInUse => "port_in_use",
    /// A name is taken, or an object is in use, in the runtime.
    Conflict => "conflict",
    /// The container's state does not allow it.
    WrongState => "wrong_state",
    /// The configuration is wrong.
    InvalidConfiguration => "invalid_configuration",
    /// Stored data is missing or cannot be read.
    Damaged => "damaged",
    /// The application did not become usable.
    NotReady => "not_ready",
    /// The hook failed.
    HookFailed => "hook_failed",
    /// The container's program could not be started.
    StartFailed => "start_failed",
    /// The image could not be built.
    BuildFailed => "build_failed",
    /// The runtime refuses a setting.
    SettingRefused => "setting_refused",
    /// The runtime has no space left.
    StorageFull => "storage_full",
    /// The runtime did not answer in time.
    TimedOut => "timed_out",
    /// The runtime failed in another way.
    RuntimeFailed => "runtime_failed",
    /// The branch's ports cannot be served.
    PortsFailed => "ports_failed",
    /// The home cannot be used.
    HomeRefused => "home_refused",
    /// The home's disk is full.
    HomeFull => "home_full",
    /// The store failed.
    StoreFailed => "store_failed",
    /// A file, folder or terminal cannot be used.
    Io => "io",
    /// Ctrl-C or a signal.
    Interrupted => "interrupted",
}

impl Kind {
    /// The kind of a failure.
    pub(crate) fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Usage { .. } => Self::Usage,
            Failure::Value(_) => Self::InvalidValue,
            Failure::Protocol(_) => Self::Unsupported,
            Failure::Config(error) => of_config(error),
            Failure::Core(error) => of_core(error),
            Failure::Runtime(error) => of_runtime(error),
            Failure::Io { .. } | Failure::Output(_) => Self::Io,
            Failure::Interrupted => Self::Interrupted,
        }
    }
}

fn of_config(error: &ConfigError) -> Kind {
    match error {
        ConfigError::Flag { problem, .. } => match problem.as_ref() {
            Problem::UnknownRuntime { .. } => Kind::UnknownRuntime,
            _ => Kind::InvalidValue,
        },
        _ if error.kind() == ConfigErrorKind::NoHome => Kind::HomeRefused,
        _ => Kind::InvalidConfiguration,
    }
}

fn of_core(error: &CoreError) -> Kind {
    use statefork_core::Named;
    match error.root() {
        CoreError::NotFound { what, .. } => match what {
            Named::Snapshot => Kind::SnapshotNotFound,
            Named::Branch => Kind::BranchNotFound,
            Named::Tag => Kind::TagNotFound,
            Named::Environment => Kind::EnvironmentNotFound,
            Named::Image => Kind::ImageNotFound,
            Named::Container => Kind::ContainerNotFound,
        },
        CoreError::Ambiguous { .. } => Kind::AmbiguousRevision,
        CoreError::InvalidRevision { .. } => Kind::InvalidRevision,
        CoreError::InvalidName { .. } => Kind::InvalidName,
        CoreError::NameTaken { .. } => Kind::NameTaken,
        CoreError::EnvironmentExists { .. } => Kind::EnvironmentExists,
        CoreError::MainBranch => Kind::MainBranch,
        CoreError::SnapshotInUse { .. } => Kind::SnapshotInUse,
        CoreError::NotUp { .. } => Kind::NotUp,
        CoreError::Lost { .. } => Kind::ContainerLost,
        CoreError::NoImage { .. } => Kind::NoImage,
        CoreError::NoBuilder { .. } => Kind::BuilderMissing,
        CoreError::InvalidSettings { .. } => Kind::InvalidSettings,
        CoreError::SettingsDiffer { .. } => Kind::SettingsDiffer,
        CoreError::SharedMount { .. } | CoreError::HostNetwork => Kind::Unsupported,
        CoreError::NoFreePort { .. } => Kind::PortInUse,
        CoreError::NotReady { .. } => Kind::NotReady,
        CoreError::HookFailed { .. } => Kind::HookFailed,
        CoreError::Locked { .. } => Kind::Locked,
        CoreError::Interrupted => Kind::Interrupted,
        CoreError::Home { .. } => Kind::HomeRefused,
        CoreError::HomeFull { .. } => Kind::HomeFull,
        CoreError::Io { .. } => Kind::Io,
        CoreError::Store(_) => Kind::StoreFailed,
        CoreError::Damaged { .. } => Kind::Damaged,
        CoreError::Runtime(error) => of_runtime(error),
        CoreError::Shim(error) => of_shim(error),
        // `root` leaves none of these two.
        CoreError::Operation { .. } | CoreError::Cleanup(_) => Kind::RuntimeFailed,
        CoreError::Program { .. } => Kind::RuntimeFailed,
    }
}

fn of_runtime(error: &RuntimeError) -> Kind {
    match error.kind() {
        RuntimeKind::Unreachable => Kind::RuntimeUnreachable,
        RuntimeKind::PermissionDenied => Kind::PermissionDenied,
        RuntimeKind::NotFound(ObjectKind::Container) => Kind::ContainerNotFound,
        RuntimeKind::NotFound(ObjectKind::Image) => Kind::ImageNotFound,
        RuntimeKind::NotFound(ObjectKind::Capture) | RuntimeKind::Damaged => Kind::Damaged,
        RuntimeKind::Conflict => Kind::Conflict,
        RuntimeKind::WrongState => Kind::WrongState,
        RuntimeKind::Unsupported => Kind::Unsupported,
        RuntimeKind::Invalid => Kind::SettingRefused,
        RuntimeKind::ProgramMissing => Kind::ProgramMissing,
        RuntimeKind::StartFailed => Kind::StartFailed,
        RuntimeKind::BuildFailed => Kind::BuildFailed,
        RuntimeKind::StorageFull => Kind::StorageFull,
        RuntimeKind::TimedOut => Kind::TimedOut,
        // The contract may grow kinds; until they are told apart here they are failures.
        _ => Kind::RuntimeFailed,
    }
}

fn of_shim(error: &ShimError) -> Kind {
    match error {
        ShimError::HelperMissing { .. } => Kind::HelperMissing,
        ShimError::PortInUse { .. } => Kind::PortInUse,
        ShimError::StartFailed { .. }
        | ShimError::PortDenied { .. }
        | ShimError::AddressNotAvailable { .. }
        | ShimError::Listen { .. }
        | ShimError::Version { .. }
        | ShimError::Protocol { .. }
        | ShimError::Io { .. }
        | ShimError::TimedOut { .. } => Kind::PortsFailed,
    }
}
