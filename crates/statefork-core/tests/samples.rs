//! The configuration files in `config/`: what a user copies loads, and what is wrong is said with
//! its place.
//!
//! `samples/valid/NAME.yaml` gives what `NAME.expected` lists: each value that is not a default.
//! `samples/invalid/NAME.yaml` gives the one error that `NAME.expected` holds, to the letter.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use statefork_core::config::{Config, ConfigError, Flags, Origin, Problem, Sources, Variables};
use tempfile::TempDir;

const RUNTIMES: &[&str] = &["docker", "podman", "native"];
const EMBEDDED: &[&str] = &["native"];

/// How long the error of a hostile file may be.
const LONGEST_ERROR: usize = 1000;

fn config_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

/// A copy of some files that nobody else can write, whatever the checkout's permissions are.
struct Folder(TempDir);

impl Folder {
    fn copy_of(dir: &Path) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                folder.write(
                    path.file_name().unwrap().to_str().unwrap(),
                    &fs::read_to_string(&path).unwrap(),
                );
            }
        }
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }

    /// Loads a file, named as one does who stands in the folder.
    fn load(&self, name: &str) -> Result<Config, ConfigError> {
        let owner = fs::metadata(self.0.path()).unwrap().uid();
        Config::load(&Sources {
            config_file: Some(PathBuf::from(name)),
            working_dir: self.0.path().to_owned(),
            env: Variables::from([
                ("HOME".into(), "/home/somebody".into()),
                ("FROM_CALLER".into(), "taken".into()),
            ]),
            uid: owner,
            flags: Flags::default(),
            known_runtimes: RUNTIMES,
            embedded_runtimes: EMBEDDED,
        })
    }

    /// A text without the folder's own path.
    fn without_path(&self, text: &str) -> String {
        text.replace(self.0.path().to_str().unwrap(), "FOLDER")
    }

    /// The YAML files, sorted.
    fn samples(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".yaml"))
            .collect();
        names.sort();
        assert!(!names.is_empty());
        names
    }

    /// Compares what each sample gives with what stands beside it, and shows all differences.
    fn compare(&self, outcome: impl Fn(&str) -> String) {
        let mut differences = String::new();
        for name in self.samples() {
            let given = outcome(&name);
            let expected = Path::new(&name).with_extension("expected");
            let expected = fs::read_to_string(self.0.path().join(expected));
            if expected.as_deref().ok() != Some(given.as_str()) {
                differences.push_str(&format!("==> {name}\n{given}"));
                match expected {
                    Ok(expected) => differences.push_str(&format!("--- expected\n{expected}")),
                    Err(error) => differences.push_str(&format!("--- expected: {error}\n")),
                }
            }
        }
        assert!(differences.is_empty(), "\n{differences}");
    }
}

/// Each value that somebody chose, a line each; the values of environment variables too.
fn chosen(config: &Config) -> String {
    let mut lines = String::new();
    for shown in config.show() {
        if shown.origin == Origin::Default && !follows(config, &shown.key) {
            continue;
        }
        let variable = shown.key.strip_prefix("env.").and_then(|name| {
            let env = &config.application.spec.env;
            env.iter().find(|variable| variable.name == name)
        });
        let value = match variable {
            Some(variable) => format!("{:?}", variable.value),
            None => shown.value.to_string(),
        };
        lines.push_str(&format!("{}: {value}\n", shown.key));
    }
    lines
}

/// Whether a default follows from another value, as the check does from the ports.
fn follows(config: &Config, key: &str) -> bool {
    key.starts_with("readiness.tcp") && !config.application.ports.is_empty()
}

#[test]
fn each_valid_sample_gives_its_values() {
    let folder = Folder::copy_of(&config_dir().join("samples/valid"));
    folder.compare(|name| match folder.load(name) {
        Ok(config) => folder.without_path(&chosen(&config)),
        Err(error) => panic!("{name}: failed to {error}"),
    });
}

#[test]
fn each_invalid_sample_gives_its_error() {
    let folder = Folder::copy_of(&config_dir().join("samples/invalid"));
    folder.compare(|name| match folder.load(name) {
        Ok(config) => panic!("{name} loads: {}", chosen(&config)),
        Err(error) => {
            let text = folder.without_path(&error.to_string());
            assert!(text.len() < LONGEST_ERROR, "{name}: {text}");
            assert!(!text.contains("secret"), "{name}: {text}");
            format!("{text}\n")
        }
    });
}

#[test]
fn the_files_that_a_user_copies_load() {
    let folder = Folder::copy_of(&config_dir());
    for (name, runtime) in [
        ("docker.yaml", "docker"),
        ("native.yaml", "native"),
        ("podman.yaml", "podman"),
        ("statefork.yaml", "native"),
    ] {
        let config = folder
            .load(name)
            .unwrap_or_else(|error| panic!("failed to {error}"));
        assert_eq!(config.runtime, runtime, "{name}");
    }
}

#[test]
fn the_explained_file_holds_the_defaults() {
    let folder = Folder::copy_of(&config_dir());
    folder.write("none.yaml", "");
    let values = |name: &str| -> Vec<_> {
        let config = folder.load(name).unwrap();
        let shown = config.show().into_iter();
        shown.map(|shown| (shown.key, shown.value)).collect()
    };
    assert_eq!(values("statefork.yaml"), values("none.yaml"));
}

#[test]
fn the_explained_file_has_every_key_and_each_example_loads() {
    let folder = Folder::copy_of(&config_dir());
    let text = fs::read_to_string(config_dir().join("statefork.yaml")).unwrap();
    let examples = examples(&text);
    folder.write("app.env", "MODE=fast\n");
    for example in &examples {
        folder.write("example.yaml", example);
        if let Err(error) = folder.load("example.yaml") {
            panic!("{example}\nfailed to {error}");
        }
    }
    let all: Vec<&str> = text
        .lines()
        .chain(examples.iter().flat_map(|example| example.lines()))
        .collect();
    for key in known_keys(&folder) {
        let begun = format!("{key}:");
        assert!(
            all.iter().any(|line| line.starts_with(&begun)),
            "{key} is not explained"
        );
    }
}

/// The commented examples: blocks of lines that begin with `#` and no space, each from a key of the
/// first level to the next.
fn examples(text: &str) -> Vec<String> {
    let mut examples: Vec<String> = Vec::new();
    let mut within = false;
    for line in text.lines() {
        let Some(content) = line.strip_prefix('#').filter(|line| !line.is_empty()) else {
            within = false;
            continue;
        };
        let begins_key = content.starts_with(|c: char| c.is_ascii_lowercase());
        if begins_key {
            examples.push(String::new());
            within = true;
        }
        if let Some(example) = examples.last_mut().filter(|_| within) {
            // `# ` alone is prose and ends it; two spaces are a deeper level of the example.
            if begins_key || content.starts_with("  ") {
                example.push_str(content);
                example.push('\n');
            } else {
                within = false;
            }
        }
    }
    examples
}

/// The keys of the first level, as the error of an unknown one lists them.
fn known_keys(folder: &Folder) -> &'static [&'static str] {
    folder.write("unknown.yaml", "zzzzzzzz: 1\n");
    match folder.load("unknown.yaml") {
        Err(ConfigError::Content { problem, .. }) => match *problem {
            Problem::UnknownKey { known, .. } => known,
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
}
