//! Why the service refused a request.
//!
//! libpod answers most refusals with status 500 and tells them apart only by text: `cause` in the
//! body of an error is the text of the innermost error value, which is a constant of libpod for
//! the errors that matter here. All knowledge of such texts is in this module.

/// A reason for a refusal that is handled in some way of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No such container.
    NoContainer,
    /// No such image.
    NoImage,
    /// An image's layer is not in the storage.
    NoLayer,
    /// No such network.
    NoNetwork,
    /// Another object has the name.
    NameTaken,
    /// The state of the container does not allow it.
    WrongState,
    /// A container was made from the image.
    ImageInUse,
    /// An image with several names is not removed by its id.
    SeveralNames,
    /// The OCI runtime found no such program.
    NoProgram,
    /// The OCI runtime could not execute the program.
    NotExecutable,
    /// The OCI runtime failed otherwise.
    OciRuntime,
    /// The user or group is not in the container's databases.
    NoUser,
    /// The working directory does not exist in the container.
    NoWorkdir,
    /// A setting of the request.
    Setting,
    /// The program is not installed that is to be process 1.
    NoInit,
    /// More layers than the storage can mount.
    TooManyLayers,
    /// No space left in the storage.
    StorageFull,
    /// What was sent is no image archive.
    NoArchive,
    /// Something ended while the service looked at it; a second look tells what.
    Passing,
    /// Anything else.
    Other,
}

/// Causes by the text that they are, start with or contain.
const TEXTS: &[(Cause, Match, &str)] = &[
    (Cause::NoContainer, Match::Is, "no such container"),
    (Cause::NoContainer, Match::Is, "no such exec session"),
    (Cause::NoImage, Match::Is, "image not known"),
    (Cause::NoImage, Match::Is, "no such image"),
    // Also within what a load says of each format that it tried.
    (Cause::NoLayer, Match::Contains, "layer not known"),
    (Cause::NoNetwork, Match::Is, "network not found"),
    (Cause::NameTaken, Match::Is, "that name is already in use"),
    (Cause::NameTaken, Match::Is, "container already exists"),
    (Cause::WrongState, Match::Is, "container state improper"),
    (
        Cause::WrongState,
        Match::Starts,
        "cannot create exec session as container",
    ),
    (
        Cause::ImageInUse,
        Match::Starts,
        "image is in use by a container",
    ),
    (Cause::ImageInUse, Match::Is, "image is being used"),
    (
        Cause::SeveralNames,
        Match::Contains,
        "by ID with more than one tag",
    ),
    (Cause::NoProgram, Match::Is, NO_PROGRAM),
    (Cause::NotExecutable, Match::Is, NOT_EXECUTABLE),
    (
        Cause::StorageFull,
        Match::Contains,
        "no space left on device",
    ),
    (Cause::StorageFull, Match::Contains, "disk quota exceeded"),
    (Cause::OciRuntime, Match::Is, "OCI runtime error"),
    // Whose own words go to the service's log; what is passed on is `exit status 1`.
    (Cause::OciRuntime, Match::Contains, "/runc pause "),
    (Cause::OciRuntime, Match::Contains, "pausing container"),
    (
        Cause::NoUser,
        Match::Starts,
        "no matching entries in passwd file",
    ),
    (
        Cause::NoUser,
        Match::Starts,
        "no matching entries in group file",
    ),
    (Cause::NoWorkdir, Match::Starts, "workdir \""),
    (Cause::Setting, Match::Is, "invalid argument"),
    (Cause::Setting, Match::Is, "no such file or directory"),
    (Cause::Setting, Match::Is, "duplicate mount destination"),
    (
        Cause::Setting,
        Match::Contains,
        "no command or entrypoint provided",
    ),
    (Cause::TooManyLayers, Match::Is, "max depth exceeded"),
    (Cause::Passing, Match::Is, "no such process"),
    // A panic of the service, when an image is removed while it looks at the layers of another.
    (Cause::Passing, Match::Contains, "nil pointer dereference"),
    (
        Cause::NoArchive,
        Match::Starts,
        "payload does not match any of the supported image formats",
    ),
];

/// What the message says where the program that is to be process 1 is missing; the cause says only that
/// some file is.
const NO_INIT: &str = "container-init binary not found on the host";
const NO_PROGRAM: &str = "OCI runtime attempted to invoke a command that was not found";
const NOT_EXECUTABLE: &str = "OCI permission denied";

#[derive(Clone, Copy)]
enum Match {
    Is,
    Starts,
    Contains,
}

impl Cause {
    /// Reads the two texts of an error; `cause` may be empty.
    pub(crate) fn of(message: &str, cause: &str) -> Self {
        if message.starts_with(NO_INIT) {
            return Self::NoInit;
        }
        let text = if cause.is_empty() { message } else { cause };
        match Self::read(text) {
            Self::Other => Self::read(message),
            cause => cause,
        }
    }

    /// Reads the `cause` of an error. The text after the last colon counts where the whole is
    /// none: some errors are passed on with a prefix.
    pub(crate) fn read(text: &str) -> Self {
        let known = |text: &str| {
            TEXTS.iter().find_map(|&(cause, how, known)| {
                let matches = match how {
                    Match::Is => text == known,
                    Match::Starts => text.starts_with(known),
                    Match::Contains => text.contains(known),
                };
                matches.then_some(cause)
            })
        };
        known(text)
            .or_else(|| known(text.rsplit_once(": ")?.1))
            .unwrap_or(Self::Other)
    }
}

/// Splits the text of podman-api's fault, `MESSAGE: CAUSE`, where the message ends with the cause
/// in its turn and both may hold colons.
pub(crate) fn split(text: &str) -> (&str, &str) {
    text.match_indices(": ")
        .map(|(at, colon)| (&text[..at], &text[at + colon.len()..]))
        .find(|(message, cause)| message.ends_with(cause))
        .unwrap_or((text, text))
}

/// What the service says of an archive that it could not unpack, without the request that it passed
/// on to the process that does that.
pub(crate) fn without_request(message: &str) -> &str {
    message.rsplit("copier: put: ").next().unwrap_or(message)
}

/// What Podman's exec writes into the output of a command that it could not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExecFailure {
    /// No such program.
    NoProgram,
    /// A program that cannot be executed.
    NotExecutable,
    /// No such working directory.
    NoWorkdir,
    /// The stream of the command's output broke, which follows the other failures.
    Stream,
}

impl ExecFailure {
    /// Reads a piece of output; `None` for what a program may have written.
    pub(crate) fn read(output: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(output).ok()?.trim_end();
        if line.starts_with("exec ") && line.ends_with(": exec format error") {
            return Some(Self::NotExecutable);
        }
        let error = line.strip_prefix("Error: ")?;
        if error.contains(": chdir to cwd (") {
            Some(Self::NoWorkdir)
        } else if error.ends_with(NO_PROGRAM) {
            Some(Self::NoProgram)
        } else if error.ends_with(NOT_EXECUTABLE) || error.contains(": exec format error") {
            Some(Self::NotExecutable)
        } else if error.starts_with("read unixpacket ") {
            Some(Self::Stream)
        } else {
            None
        }
    }
}

/// Why an archive could not be read: the service tries every format that it knows, and says of each
/// what was in the way. It is written by `docker save`, or by us.
pub(crate) fn no_archive(message: &str) -> String {
    let tried = message.lines().find_map(|line| {
        let line = line.trim_start().strip_prefix("* ")?;
        line.starts_with("docker-archive: ").then_some(line)
    });
    match tried {
        Some(tried) => format!("it holds no image in a known format ({tried})"),
        None => "it holds no image in a known format".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_of_the_client_library_is_split() {
        let cause = "no such container";
        let message = format!("no container with name or ID \"a: b\" found: {cause}");
        assert_eq!(split(&format!("{message}: {cause}")), (&*message, cause));
        let colons = "payload: bad: worse";
        assert_eq!(split(&format!("{colons}: {colons}")), (colons, colons));
        assert_eq!(split("not found"), ("not found", "not found"));
    }

    #[test]
    fn the_request_is_nobodys_affair() {
        let said = "error during bulk transfer for copier.request{Request:\"PUT\"}: \
                    copier: put: error creating \"/a\": copier: put: open /a: file exists";
        assert_eq!(without_request(said), "open /a: file exists");
        assert_eq!(without_request("read-only"), "read-only");
    }

    #[test]
    fn causes_are_read_with_and_without_a_prefix() {
        for (text, cause) in [
            ("container state improper", Cause::WrongState),
            ("runc: create failed: OCI runtime error", Cause::OciRuntime),
            (
                "CommitFailure: pausing container \"c4\" to commit: `/usr/bin/runc pause c4` failed",
                Cause::OciRuntime,
            ),
            // A helper of the service for tar archives ends so too.
            ("exit status 1", Cause::Other),
            (
                "processing tar file(write /large: no space left on device)",
                Cause::StorageFull,
            ),
            ("write /x: no space left on device", Cause::StorageFull),
            (
                "payload does not match any of the supported image formats: (docker-archive: \
                 trying to reuse blob sha256:77 at destination: locating layer for blob \
                 \"sha256:2e\": layer not known) [Invalid]",
                Cause::NoLayer,
            ),
            (
                "payload does not match any of the supported image formats",
                Cause::NoArchive,
            ),
            ("something else", Cause::Other),
        ] {
            assert_eq!(Cause::read(text), cause, "{text}");
        }
    }

    #[test]
    fn only_the_runtime_s_own_words_are_taken_from_the_output() {
        let read = |text: &str| ExecFailure::read(text.as_bytes());
        assert_eq!(
            read(&format!("Error: runc: exec failed: {NO_PROGRAM}\n")),
            Some(ExecFailure::NoProgram)
        );
        assert_eq!(read("Error: no such key\n"), None);
        assert_eq!(read("sh: nope: not found\n"), None);
    }

    #[test]
    fn of_all_formats_that_were_tried_ours_is_told() {
        let message = "unable to load image: payload does not match any of the supported image \
                       formats:\n * oci: open /tmp/index.json: not a directory\n * docker-archive: \
                       loading tar component manifest.json: unexpected EOF\n * dir: none";
        assert_eq!(
            no_archive(message),
            "it holds no image in a known format (docker-archive: loading tar component \
             manifest.json: unexpected EOF)"
        );
        assert_eq!(no_archive("no"), "it holds no image in a known format");
    }
}
