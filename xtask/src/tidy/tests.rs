//! Each rule on a workspace that keeps it and on one that breaks it.

use tempfile::TempDir;

use super::*;

/// A workspace of two crates in which nothing is wrong.
struct Workspace(TempDir);

impl Workspace {
    fn new() -> Self {
        let workspace = Self(tempfile::tempdir().unwrap());
        workspace.write(
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n",
        );
        workspace.write(
            "ARCHITECTURE.md",
            "# A\n\n## Code map\n\n| Crate | Is |\n|---|---|\n\
             | `crates/statefork-runtime` | x |\n| `crates/statefork-core/` | y |\n\n## Large files\n",
        );
        workspace.member("statefork-runtime", "");
        workspace.member(
            "statefork-core",
            "[dependencies]\nstatefork-runtime = { path = \"../statefork-runtime\" }\n",
        );
        run(command("git")
            .args(["init", "--quiet"])
            .arg(workspace.0.path()))
        .unwrap();
        workspace
    }

    fn member(&self, name: &str, dependencies: &str) {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n{dependencies}"
        );
        self.write(&format!("crates/{name}/Cargo.toml"), &manifest);
        self.write(&format!("crates/{name}/src/lib.rs"), "//! A crate.\n");
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.0.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn append(&self, path: &str, text: &str) {
        let file = self.0.path().join(path);
        let former = fs::read_to_string(file).unwrap();
        self.write(path, &(former + text));
    }

    fn findings(&self) -> Vec<String> {
        let findings = check(self.0.path()).unwrap();
        findings.iter().map(ToString::to_string).collect()
    }

    /// Asserts on exactly one finding, by its beginning.
    #[track_caller]
    fn complains(&self, beginning: &str) {
        let findings = self.findings();
        assert!(
            matches!(findings.as_slice(), [one] if one.starts_with(beginning)),
            "{findings:#?}"
        );
    }
}

const LIB: &str = "crates/statefork-core/src/lib.rs";

#[test]
fn a_tidy_workspace_has_no_findings() {
    assert_eq!(Workspace::new().findings(), Vec::<String>::new());
}

#[test]
fn a_dependency_against_the_direction_is_found() {
    let workspace = Workspace::new();
    workspace.member("statefork-core", "");
    workspace.member(
        "statefork-runtime",
        "[dependencies]\nstatefork-core = { path = \"../statefork-core\" }\n",
    );
    workspace.complains(
        "crates/statefork-runtime/Cargo.toml: statefork-runtime may not depend on statefork-core",
    );
}

#[test]
fn tests_may_depend_on_the_suite_but_not_on_a_backend() {
    let workspace = Workspace::new();
    workspace.member("statefork-conformance", "");
    workspace.member("statefork-docker", "");
    workspace.write(
        "ARCHITECTURE.md",
        "# Code map\n| `crates/statefork-runtime` |\n| `crates/statefork-core` |\n\
         | `crates/statefork-conformance` |\n| `crates/statefork-docker` |\n",
    );
    workspace.member(
        "statefork-core",
        "[dev-dependencies]\nstatefork-conformance = { path = \"../statefork-conformance\" }\n",
    );
    assert_eq!(workspace.findings(), Vec::<String>::new());
    workspace.member(
        "statefork-core",
        "[dev-dependencies]\nstatefork-docker = { path = \"../statefork-docker\" }\n",
    );
    workspace.complains(
        "crates/statefork-core/Cargo.toml: statefork-core may not depend for its tests on",
    );
    workspace.member(
        "statefork-core",
        "[dependencies]\nstatefork-conformance = { path = \"../statefork-conformance\" }\n",
    );
    workspace.complains("crates/statefork-core/Cargo.toml: statefork-core may not depend on");
}

#[test]
fn an_unknown_crate_is_found() {
    let workspace = Workspace::new();
    workspace.member("statefork-new", "");
    let findings = workspace.findings().join("\n");
    assert!(
        findings.contains("statefork-new is not in the table"),
        "{findings}"
    );
    assert!(
        findings.contains("`crates/statefork-new` has no row"),
        "{findings}"
    );
}

#[test]
fn a_code_map_that_has_drifted_is_found() {
    let workspace = Workspace::new();
    let map = |rows: &str| workspace.write("ARCHITECTURE.md", &format!("## Code map\n{rows}"));
    let both = "| `crates/statefork-runtime` |\n| `crates/statefork-core` |\n";
    map(both);
    assert_eq!(workspace.findings(), Vec::<String>::new());
    map(&format!("{both}| `crates/gone` |\n"));
    workspace.complains("ARCHITECTURE.md:4: the code map names `crates/gone`");
    map(&format!("{both}| `crates/statefork-core` |\n"));
    workspace.complains("ARCHITECTURE.md:4: the code map names `crates/statefork-core` twice");
    map("| `crates/statefork-runtime` |\n## Other\n| `crates/statefork-core` |\n");
    workspace.complains("ARCHITECTURE.md: `crates/statefork-core` has no row");
    fs::remove_file(workspace.0.path().join("ARCHITECTURE.md")).unwrap();
    workspace.complains("ARCHITECTURE.md: the file is missing");
}

#[test]
fn a_file_without_its_purpose_is_found() {
    let workspace = Workspace::new();
    workspace.write(LIB, "// A crate.\n");
    workspace.complains("crates/statefork-core/src/lib.rs:1: the file does not open");
}

#[test]
fn what_is_left_over_is_found() {
    let workspace = Workspace::new();
    for (text, beginning) in [
        (concat!("//! A\nfn f() { to", "do!() }\n"), "`"),
        (concat!("//! A\nfn f() { db", "g!(1) }\n"), "`"),
        (concat!("//! A\n// TO", "DO: later\n"), "TO"),
        (concat!("//! A\n// FIX", "ME(me) # later\n"), "FIX"),
        (concat!("//! A\nconst P: &str = \"/wo", "rk/x\";\n"), "/wo"),
        (concat!("//! A\n// see /ro", "ot/x\n"), "/ro"),
    ] {
        workspace.write(LIB, text);
        workspace.complains(&format!("{LIB}:2: {beginning}"));
    }
    workspace.write(LIB, concat!("//! A\n// TO", "DO(#12): later\n"));
    assert_eq!(workspace.findings(), Vec::<String>::new());
}

#[test]
fn a_large_file_takes_a_reason() {
    let workspace = Workspace::new();
    workspace.append(LIB, &"\n".repeat(documents::LINES - 1));
    assert_eq!(
        workspace.findings(),
        Vec::<String>::new(),
        "just small enough"
    );
    workspace.append(LIB, "\n");
    workspace.complains(&format!("{LIB}: 501 lines"));
    workspace.append("ARCHITECTURE.md", &format!("- `{LIB}`: one table\n"));
    assert_eq!(workspace.findings(), Vec::<String>::new());
    workspace.append("ARCHITECTURE.md", "- `gone.rs`: a reason\n");
    workspace.complains("ARCHITECTURE.md:12: `gone.rs` is named as large but has 0 lines");
}

#[test]
fn a_large_file_without_a_reason_is_found() {
    let workspace = Workspace::new();
    workspace.append(LIB, &"\n".repeat(documents::LINES));
    workspace.append("ARCHITECTURE.md", &format!("- `{LIB}`:\n"));
    workspace.complains("ARCHITECTURE.md:11: ");
}

#[test]
fn ignored_and_deleted_files_are_not_read() {
    let workspace = Workspace::new();
    workspace.write(".gitignore", "/target\n");
    workspace.write("target/x.rs", "no purpose\n");
    workspace.write("gone.rs", "no purpose\n");
    run(command("git")
        .current_dir(workspace.0.path())
        .args(["add", "gone.rs"]))
    .unwrap();
    fs::remove_file(workspace.0.path().join("gone.rs")).unwrap();
    assert_eq!(workspace.findings(), Vec::<String>::new());
}
