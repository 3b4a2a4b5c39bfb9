//! What a person can do about a failure.

use statefork_core::{CoreError, Named, NotReadyReason};
use statefork_runtime::RuntimeError;
use statefork_shim::ShimError;

use crate::failure::Failure;
use crate::kind::Kind;

/// What to do about a failure, where there is something.
pub(crate) fn hint(failure: &Failure) -> Option<String> {
    let say = |text: &str| Some(text.to_owned());
    match Kind::of(failure) {
        Kind::Usage => match failure {
            Failure::Usage { hint, .. } => hint.clone(),
            _ => None,
        },
        Kind::UnknownRuntime => say("`statefork doctor` says which runtimes work here"),
        Kind::InvalidRevision => {
            say("a snapshot is named by HEAD, a branch, a tag or an id, then @{N}, ^ or ~N")
        }
        Kind::AmbiguousRevision => say("give more digits"),
        Kind::NoImage => {
            say("name one with `up IMAGE` or `up --build DIR`, or with `image:` in statefork.yaml")
        }
        Kind::SnapshotNotFound
        | Kind::BranchNotFound
        | Kind::TagNotFound
        | Kind::EnvironmentNotFound => not_found(failure),
        Kind::ImageNotFound => {
            say("pull it or build it with the runtime's own tool first, or use `up --build DIR`")
        }
        Kind::ContainerNotFound if is_named(failure) => {
            say("the runtime's own tool lists the containers that there are")
        }
        Kind::ContainerNotFound | Kind::ContainerLost => {
            say("`statefork up` launches the last snapshot")
        }
        Kind::NotUp => say("`statefork up` starts it"),
        Kind::RuntimeUnreachable => unreachable(failure),
        Kind::PermissionDenied => {
            say("run it as root, or as a member of the group that the socket belongs to")
        }
        Kind::HelperMissing => {
            say("install statefork-shim beside statefork, or say where it is with STATEFORK_SHIM")
        }
        Kind::ProgramMissing => match failure.runtime() {
            Some(RuntimeError::ProgramMissing { package, .. }) => {
                Some(format!("install it (`apt-get install {package}`)"))
            }
            _ => None,
        },
        Kind::BuilderMissing => {
            say("install buildah (`apt-get install buildah`), or start docker or podman")
        }
        Kind::EnvironmentExists => say("choose another name with -e"),
        Kind::SettingsDiffer => settings_differ(failure),
        Kind::NameTaken => name_taken(failure),
        Kind::MainBranch => say("`statefork down --purge` removes the environment with all of it"),
        Kind::SnapshotInUse => say(
            "restore another snapshot on that branch first, or remove the branch; \
             `statefork down --purge` removes the base too",
        ),
        Kind::Locked => {
            say("wait for it to end, or wait for longer with `lock_timeout:` in the configuration")
        }
        Kind::PortInUse => say("free the port, or publish another one; host port 0 takes any"),
        Kind::WrongState => {
            say("`statefork status` says what it is doing, `statefork up` starts it")
        }
        Kind::Damaged => say("`statefork list` shows what else there is to restore"),
        Kind::NotReady => not_ready(failure),
        Kind::HookFailed => say(
            "the application goes on as it was; `hooks:` in the configuration says what is run, and \
             `statefork up` takes it over",
        ),
        Kind::StartFailed => say("check the command, the user and the working directory"),
        Kind::StorageFull => say("free some space, or remove images that nobody needs"),
        Kind::TimedOut => say("`api_timeout:` in the configuration sets the limit"),
        Kind::PortsFailed => ports_failed(failure),
        Kind::HomeRefused => say("choose another home with --home or STATEFORK_HOME"),
        Kind::HomeFull => say(
            "free some space on that disk; what was stored before is there, and the next command \
                 finishes or undoes what could not be recorded",
        ),
        Kind::InvalidConfiguration => say("`statefork config check FILE` checks a configuration"),
        Kind::Unsupported => match failure.root() {
            Some(CoreError::SharedMount { .. }) => {
                say("`fork --share-mounts` has all of them write there")
            }
            _ => None,
        },
        Kind::InvalidValue
        | Kind::InvalidName
        | Kind::InvalidSettings
        | Kind::Conflict
        | Kind::BuildFailed
        | Kind::SettingRefused
        | Kind::RuntimeFailed
        | Kind::StoreFailed
        | Kind::Io
        | Kind::Interrupted => None,
    }
}

fn not_found(failure: &Failure) -> Option<String> {
    let list = match Kind::of(failure) {
        Kind::SnapshotNotFound => "`statefork list` shows all snapshots",
        Kind::BranchNotFound => "`statefork branch` shows all branches",
        Kind::TagNotFound => "`statefork tag` shows all tags",
        _ => "`statefork up IMAGE` makes it",
    };
    match failure.root() {
        Some(CoreError::NotFound {
            nearest: Some(nearest),
            ..
        }) => Some(format!("did you mean {nearest}? {list}")),
        _ => Some(list.to_owned()),
    }
}

fn name_taken(failure: &Failure) -> Option<String> {
    match failure.root() {
        Some(CoreError::NameTaken {
            by: Named::Tag,
            name,
        }) if name != statefork_core::BASE => {
            Some(format!("`statefork tag -f {name} REV` moves the tag"))
        }
        _ => Some("choose another name".to_owned()),
    }
}

fn unreachable(failure: &Failure) -> Option<String> {
    let runtime = match failure.runtime() {
        Some(RuntimeError::Unreachable { runtime, .. }) => runtime,
        _ => "its daemon",
    };
    Some(format!(
        "start {runtime}, or choose another runtime with -r; `statefork doctor` says which work here"
    ))
}

/// Whether it was a person who named what was not found.
fn is_named(failure: &Failure) -> bool {
    matches!(failure.root(), Some(CoreError::NotFound { .. }))
}

fn settings_differ(failure: &Failure) -> Option<String> {
    match failure.root() {
        Some(CoreError::SettingsDiffer {
            recreate_helps: true,
            ..
        }) => Some(
            "`up --recreate` takes the new settings; changes since the last snapshot are lost"
                .to_owned(),
        ),
        _ => Some("use another environment with -e NAME for another application".to_owned()),
    }
}

fn not_ready(failure: &Failure) -> Option<String> {
    match failure.root() {
        Some(CoreError::NotReady {
            reason: NotReadyReason::TimedOut { .. },
            ..
        }) => Some(
            "`readiness:` in the configuration says how the application is asked and for how long"
                .to_owned(),
        ),
        _ => None,
    }
}

fn ports_failed(failure: &Failure) -> Option<String> {
    match failure.root() {
        Some(CoreError::Shim(ShimError::PortDenied { .. })) => {
            Some("ports below 1024 are for root; publish a higher one".to_owned())
        }
        Some(CoreError::Shim(ShimError::Version { .. })) => {
            Some("use that version of statefork, or bring the environment down with it".to_owned())
        }
        _ => None,
    }
}
