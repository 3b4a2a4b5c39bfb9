//! The daemon's words: the one place that reads text, where the daemon gives nothing else.

/// Whether the daemon's storage is full (`ENOSPC` of a file system; storage drivers pass it on in
/// words, with a status that says nothing).
pub(crate) fn is_storage_full(message: &str) -> bool {
    message.contains("no space left on device")
}

/// Whether the OCI runtime gave up freezing a container, whose processes go on (runc: `unable to
/// freeze`; the daemon gives the status of any failure of its own).
pub(crate) fn is_freeze_given_up(message: &str) -> bool {
    message.contains("unable to freeze")
}

/// Whether containerd's shim takes the container for frozen already, so that it does not freeze it
/// (`cannot pause a paused container`; the daemon gives the status of any failure of its own).
pub(crate) fn is_frozen_already(message: &str) -> bool {
    message.contains("cannot pause a paused container")
}

/// Why a process could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The user or the group does not exist in the container.
    User,
    /// The working directory cannot be entered.
    Workdir,
    /// There is no such program.
    NotFound,
    /// The program cannot be executed.
    NotExecutable,
    /// Anything else.
    Other,
}

/// Reads what runc, crun or the daemon say about a process that could not be started. The exit
/// code that goes with it is no help: Docker 20.10 gives 126 for everything.
pub(crate) fn refusal(message: &str) -> Refusal {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&[
        "unable to find user",
        "unable to find group",
        "no matching entries in",
    ]) {
        Refusal::User
    } else if says(&["chdir to cwd", "mkdir cwd", "Cwd must be an absolute path"]) {
        Refusal::Workdir
    } else if says(&["executable file not found", "no such file or directory"]) {
        Refusal::NotFound
    } else if says(&[
        "permission denied",
        "is a directory",
        "exec format error",
        "not a directory",
    ]) {
        Refusal::NotExecutable
    } else {
        Refusal::Other
    }
}

/// What the daemon says of an archive that it could not unpack, without what it says of the process
/// that it has for that.
pub(crate) fn without_helper(message: &str) -> &str {
    let inner = message.strip_prefix("Error processing tar file(");
    let inner = inner.and_then(|inner| inner.split_once("): "));
    inner.map_or(message, |(_, inner)| inner).trim_end()
}

/// The name or the id of a loaded image in a line of the answer to a load.
pub(crate) fn loaded_image(line: &str) -> Option<&str> {
    let line = line.trim();
    line.strip_prefix("Loaded image ID: ")
        .or_else(|| line.strip_prefix("Loaded image: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_docker_20_10_with_runc_1_1_are_told_apart() {
        for (message, expected) in [
            (
                "unable to find user nope: no matching entries in passwd file",
                Refusal::User,
            ),
            (
                "OCI runtime exec failed: exec failed: unable to start container process: chdir to \
                 cwd (\"/nope\") set in config.json failed: no such file or directory: unknown",
                Refusal::Workdir,
            ),
            (
                "unable to start container process: exec: \"nope\": executable file not found in \
                 $PATH: unknown",
                Refusal::NotFound,
            ),
            (
                "exec: \"/nope\": stat /nope: no such file or directory: unknown",
                Refusal::NotFound,
            ),
            (
                "exec: \"/etc\": permission denied: unknown",
                Refusal::NotExecutable,
            ),
            ("procReady not received", Refusal::Other),
        ] {
            assert_eq!(refusal(message), expected, "{message}");
        }
    }

    #[test]
    fn the_helper_process_is_nobodys_affair() {
        let said = "Error processing tar file(exit status 1): unexpected EOF";
        assert_eq!(without_helper(said), "unexpected EOF");
        assert_eq!(without_helper("read-only"), "read-only");
    }

    #[test]
    fn the_loaded_image_is_named_by_tag_or_id() {
        assert_eq!(loaded_image("Loaded image: a:1\n"), Some("a:1"));
        assert_eq!(
            loaded_image("Loaded image ID: sha256:0a\n"),
            Some("sha256:0a")
        );
        assert_eq!(loaded_image("Loading layer"), None);
    }
}
