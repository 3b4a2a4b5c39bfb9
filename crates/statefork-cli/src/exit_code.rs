//! The one table of exit codes; `docs/errors.md` explains it to people.

use crate::kind::Kind;

/// Done.
pub(crate) const DONE: u8 = 0;
/// The operation failed; also a line of a shell's script.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage.
pub(crate) const USAGE: u8 = 2;
/// `exec` and `try`: our own failure, as opposed to one of the command that ran.
pub(crate) const EXEC_FAILED: u8 = 125;
/// Stored data is missing or cannot be read.
pub(crate) const DAMAGED: u8 = 8;
/// Interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// The exit code of a command that failed.
pub(crate) fn of(kind: Kind) -> u8 {
    match kind {
        Kind::NotReady
        | Kind::HookFailed
        | Kind::StartFailed
        | Kind::BuildFailed
        | Kind::SettingRefused
        | Kind::StorageFull
        | Kind::TimedOut
        | Kind::RuntimeFailed
        | Kind::PortsFailed
        | Kind::HomeRefused
        | Kind::HomeFull
        | Kind::StoreFailed
        | Kind::Io => FAILED,
        Kind::Usage
        | Kind::InvalidValue
        | Kind::InvalidRevision
        | Kind::AmbiguousRevision
        | Kind::InvalidName
        | Kind::UnknownRuntime
        | Kind::NoImage
        | Kind::InvalidSettings => USAGE,
        Kind::SnapshotNotFound
        | Kind::BranchNotFound
        | Kind::TagNotFound
        | Kind::EnvironmentNotFound
        | Kind::ImageNotFound
        | Kind::ContainerNotFound
        | Kind::NotUp
        | Kind::ContainerLost => 3,
        Kind::Unsupported => 4,
        Kind::RuntimeUnreachable
        | Kind::PermissionDenied
        | Kind::HelperMissing
        | Kind::ProgramMissing
        | Kind::BuilderMissing => 5,
        Kind::SettingsDiffer
        | Kind::EnvironmentExists
        | Kind::NameTaken
        | Kind::MainBranch
        | Kind::SnapshotInUse
        | Kind::Locked
        | Kind::PortInUse
        | Kind::Conflict
        | Kind::WrongState => 6,
        Kind::InvalidConfiguration => 7,
        Kind::Damaged => DAMAGED,
        Kind::Interrupted => INTERRUPTED,
    }
}

/// The exit code of an `exec` or a `try` that failed by itself, so that the command's own codes stay apart.
pub(crate) fn of_exec(kind: Kind) -> u8 {
    match of(kind) {
        code @ (USAGE | INTERRUPTED) => code,
        _ => EXEC_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_kind_with_its_code() {
        let documented = include_str!("../../../docs/errors.md");
        let rows: Vec<_> = documented
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        assert_eq!(rows.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            let row = format!("| `{}` | {} |", kind.as_str(), of(*kind));
            assert!(rows.iter().any(|line| line.starts_with(&row)), "{row}");
        }
    }

    #[test]
    fn a_failed_exec_is_not_taken_for_its_command() {
        assert_eq!(of_exec(Kind::NotUp), 125);
        assert_eq!(of_exec(Kind::Usage), 2);
        assert_eq!(of_exec(Kind::Interrupted), 130);
    }
}
