//! Environment variables of the application.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use statefork_runtime::EnvVar;

use super::{ValueError, ValueKind};

/// Environment variables of the caller.
pub type Variables = BTreeMap<OsString, OsString>;

/// Reads `NAME=VALUE`, or `NAME` alone, which takes the caller's value.
///
/// Errors: no name, or a name alone that the caller's environment does not hold. No error shows a
/// value.
pub fn parse_env(text: &str, caller: &Variables) -> Result<EnvVar, ValueError> {
    match text.split_once('=') {
        Some((name, value)) => env_var(name, value),
        None => match caller_value(text, caller)? {
            Some(value) => env_var(text, &value),
            None => Err(ValueError::not_set(text)),
        },
    }
}

/// Adds a variable; one of the same name is replaced where it stands.
pub fn set_env(variables: &mut Vec<EnvVar>, variable: EnvVar) {
    match variables
        .iter_mut()
        .find(|known| known.name == variable.name)
    {
        Some(known) => *known = variable,
        None => variables.push(variable),
    }
}

/// A variable, checked.
pub(in crate::config) fn env_var(name: &str, value: &str) -> Result<EnvVar, ValueError> {
    check_name(name)?;
    if value.contains('\0') {
        return Err(ValueError::new(
            ValueKind::EnvVar,
            name,
            "its value holds a NUL",
        ));
    }
    Ok(EnvVar {
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

/// The caller's value of a variable; `None` where it is not set.
pub(in crate::config) fn caller_value(
    name: &str,
    caller: &Variables,
) -> Result<Option<String>, ValueError> {
    check_name(name)?;
    caller
        .get(OsStr::new(name))
        .map(|value| {
            value.to_str().map(ToOwned::to_owned).ok_or_else(|| {
                ValueError::new(
                    ValueKind::EnvVar,
                    name,
                    "its value in your environment is not UTF-8",
                )
            })
        })
        .transpose()
}

fn check_name(name: &str) -> Result<(), ValueError> {
    if name.is_empty() || name.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control()) {
        return Err(ValueError::new(
            ValueKind::EnvVar,
            name,
            "NAME=VALUE is needed, with no space in the name",
        ));
    }
    Ok(())
}

/// A line of an environment file that cannot be read.
pub(in crate::config) struct EnvFileFault {
    /// Its number, from 1.
    pub(in crate::config) line: u64,
    /// What is wrong.
    pub(in crate::config) error: ValueError,
}

/// Reads the lines of an environment file, as `docker run --env-file` does: `NAME=VALUE` with the
/// value as it stands, `NAME` alone for the caller's value (left out where the caller has none),
/// lines that are empty or begin with `#` ignored. The number of its line goes with each.
pub(in crate::config) fn read_env_lines(
    text: &str,
    caller: &Variables,
) -> Result<Vec<(u64, EnvVar)>, EnvFileFault> {
    let mut variables = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let fault = |error| EnvFileFault { line, error };
        let variable = match content.split_once('=') {
            Some((name, value)) => Some(env_var(name, value).map_err(fault)?),
            None => {
                let name = content.trim_end();
                match caller_value(name, caller).map_err(fault)? {
                    Some(value) => Some(env_var(name, &value).map_err(fault)?),
                    None => None,
                }
            }
        };
        variables.extend(variable.map(|variable| (line, variable)));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn caller() -> Variables {
        Variables::from([
            ("TOKEN".into(), "s3cret".into()),
            ("BAD".into(), OsString::from_vec(vec![0xff])),
        ])
    }

    #[test]
    fn a_name_alone_takes_the_caller_s_value() {
        let read = |text| parse_env(text, &caller()).map(|env| (env.name, env.value));
        assert_eq!(read("A=b=c").unwrap(), ("A".into(), "b=c".into()));
        assert_eq!(read("A=").unwrap(), ("A".into(), String::new()));
        assert_eq!(read("TOKEN").unwrap(), ("TOKEN".into(), "s3cret".into()));
        assert!(read("ABSENT").unwrap_err().reason().contains("not set"));
        assert!(read("BAD").unwrap_err().reason().contains("UTF-8"));
        for bad in ["", "=x", "a b=x", "export A=x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_error_shows_a_value() {
        let error = parse_env("MY TOKEN=s3cret", &caller()).unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        let error = parse_env("TOKEN=s3c\0ret", &caller()).unwrap_err();
        assert!(!error.to_string().contains("s3c"), "{error}");
    }

    #[test]
    fn a_later_value_replaces_an_earlier_one() {
        let mut variables = Vec::new();
        for text in ["A=1", "B=2", "A=3"] {
            set_env(&mut variables, parse_env(text, &caller()).unwrap());
        }
        let shown: Vec<_> = variables
            .iter()
            .map(|env| format!("{}={}", env.name, env.value))
            .collect();
        assert_eq!(shown, ["A=3", "B=2"]);
    }

    #[test]
    fn an_environment_file_reads_line_by_line() {
        let text = "# comment\n\nA=1 # no comment\n  B=\"quoted\"\r\nTOKEN\nABSENT\n";
        let read: Vec<_> = read_env_lines(text, &caller())
            .ok()
            .unwrap()
            .into_iter()
            .map(|(line, env)| (line, env.name, env.value))
            .collect();
        assert_eq!(
            read,
            [
                (3, "A".to_owned(), "1 # no comment".to_owned()),
                (4, "B".to_owned(), "\"quoted\"".to_owned()),
                (5, "TOKEN".to_owned(), "s3cret".to_owned()),
            ]
        );
        let fault = read_env_lines("A=1\nexport B=s3cret\n", &caller())
            .err()
            .unwrap();
        assert_eq!(fault.line, 2);
        assert!(!fault.error.to_string().contains("s3cret"));
    }
}
