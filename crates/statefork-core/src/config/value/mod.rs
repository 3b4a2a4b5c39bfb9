//! Single values, as the file, the environment and the flags of the command line write them.

mod env;
mod error;
mod mount;
mod name;
mod quantity;
mod standby;

use statefork_runtime::{Network, PortMapping, PortRange, no_new_privileges};

use super::MachineId;

pub(super) use env::{EnvFileFault, caller_value, env_var, read_env_lines};
pub use env::{Variables, parse_env, set_env};
pub(super) use error::quoted;
pub use error::{ValueError, ValueKind};
pub(super) use mount::{SourceFault, parse_mount_target, parse_mount_type, resolve, source_of};
pub use mount::{parse_mount, parse_mount_source, parse_tmpfs};
pub use name::{parse_hostname, parse_image, parse_name, parse_user, parse_workdir};
pub(super) use quantity::show_duration;
pub use quantity::{parse_cpus, parse_duration, parse_size};
pub use standby::parse_standby;

/// Reads `bridge`, `none` or `host`.
pub fn parse_network(text: &str) -> Result<Network, ValueError> {
    match text {
        "bridge" => Ok(Network::Bridge),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        _ => Err(ValueError::new(
            ValueKind::Network,
            text,
            "not bridge, none or host",
        )),
    }
}

/// Reads `image` or `new`.
pub fn parse_machine_id(text: &str) -> Result<MachineId, ValueError> {
    match text {
        "image" => Ok(MachineId::Image),
        "new" => Ok(MachineId::New),
        _ => Err(ValueError::new(
            ValueKind::MachineId,
            text,
            "not image or new",
        )),
    }
}

/// Reads the one security option there is, `no-new-privileges`, `no-new-privileges=true` or `=false`.
pub fn parse_security_option(text: &str) -> Result<bool, ValueError> {
    no_new_privileges(text).ok_or_else(|| {
        let reason = "not no-new-privileges, no-new-privileges=true or no-new-privileges=false";
        ValueError::new(ValueKind::SecurityOption, text, reason)
    })
}

/// Reads `[IP:]HOST:CONTAINER` or `CONTAINER`; without an IP it is 127.0.0.1, and a host port of 0
/// or none is any free one.
pub fn parse_port(text: &str) -> Result<PortMapping, ValueError> {
    text.parse::<PortMapping>()
        .map_err(|error| ValueError::new(ValueKind::Port, text, error.reason().to_string()))
}

/// Reads what [`parse_port`] reads, and `[IP:]FIRST-LAST:CONTAINER`.
pub fn parse_port_range(text: &str) -> Result<PortRange, ValueError> {
    text.parse::<PortRange>()
        .map_err(|error| ValueError::new(ValueKind::Port, text, error.reason().to_string()))
}

/// Splits a command into words as a shell does, without expanding anything.
pub fn parse_command(text: &str) -> Result<Vec<String>, ValueError> {
    let words = shell_words::split(text)
        .map_err(|_| ValueError::new(ValueKind::Command, text, "a quote is not closed"))?;
    check_command(&words)?;
    Ok(words)
}

/// A command has a program.
pub(super) fn check_command(words: &[String]) -> Result<(), ValueError> {
    if words.first().is_none_or(String::is_empty) {
        return Err(ValueError::new(
            ValueKind::Command,
            &words.join(" "),
            "a command needs a program",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_splits_into_words() {
        assert_eq!(
            parse_command("sh -c 'echo \"a b\"' x\\ y").unwrap(),
            ["sh", "-c", "echo \"a b\"", "x y"]
        );
        assert_eq!(parse_command("echo $HOME").unwrap(), ["echo", "$HOME"]);
        for bad in ["", "  ", "'' x", "echo 'a"] {
            assert!(parse_command(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_is_one_of_three() {
        assert_eq!(parse_network("host").unwrap(), Network::Host);
        assert_eq!(
            parse_network("hots").unwrap_err().to_string(),
            "read network \"hots\": not bridge, none or host"
        );
    }

    #[test]
    fn a_long_text_is_shown_in_part() {
        let error = parse_network(&"x\n".repeat(1000)).unwrap_err().to_string();
        assert!(error.len() < 400 && !error.contains('\n'), "{error}");
    }
}
