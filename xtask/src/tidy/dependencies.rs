//! Which of our crates may depend on which.

use cargo_metadata::{DependencyKind, Metadata};

use super::Finding;

const RUNTIME: &str = "statefork-runtime";
const CORE: &str = "statefork-core";
const DOCKER: &str = "statefork-docker";
const PODMAN: &str = "statefork-podman";
const NATIVE: &str = "statefork-native";
const CONFORMANCE: &str = "statefork-conformance";
const SHIM: &str = "statefork-shim";

/// A crate, what it may depend on, and what its tests may depend on besides.
struct Rule {
    name: &'static str,
    normal: &'static [&'static str],
    tests: &'static [&'static str],
}

/// A crate that is not here may not be in the workspace: where it belongs is a decision.
const RULES: [Rule; 10] = [
    Rule {
        name: RUNTIME,
        normal: &[],
        tests: &[],
    },
    Rule {
        name: CORE,
        normal: &[RUNTIME, SHIM],
        tests: &[CONFORMANCE],
    },
    Rule {
        name: DOCKER,
        normal: &[RUNTIME],
        tests: &[CONFORMANCE],
    },
    Rule {
        name: PODMAN,
        normal: &[RUNTIME],
        tests: &[CONFORMANCE],
    },
    Rule {
        name: NATIVE,
        normal: &[RUNTIME],
        tests: &[CONFORMANCE],
    },
    Rule {
        name: CONFORMANCE,
        normal: &[RUNTIME],
        tests: &[],
    },
    Rule {
        name: SHIM,
        normal: &[RUNTIME],
        tests: &[],
    },
    Rule {
        name: "statefork-cli",
        normal: &[RUNTIME, CORE, DOCKER, PODMAN, NATIVE, CONFORMANCE, SHIM],
        tests: &[],
    },
    Rule {
        name: "statefork-benches",
        normal: &[RUNTIME, CORE, DOCKER, PODMAN, NATIVE, SHIM],
        tests: &[CONFORMANCE],
    },
    // Set-up must build quickly on a bare machine: it runs our programs and links none of them.
    Rule {
        name: "xtask",
        normal: &[],
        tests: &[],
    },
];

/// Checks the dependencies between the members of a workspace.
pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    let members = metadata.workspace_packages();
    let mut findings = Vec::new();
    for package in &members {
        let manifest = manifest(metadata, &package.manifest_path);
        let Some(rule) = RULES.iter().find(|rule| rule.name == package.name.as_str()) else {
            findings.push(Finding::new(
                &manifest,
                0,
                format!(
                    "{} is not in the table of allowed dependencies (xtask/src/tidy/dependencies.rs)",
                    package.name
                ),
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if !members.iter().any(|member| member.name.as_str() == name) {
                continue;
            }
            let tests = dependency.kind == DependencyKind::Development;
            let allowed = rule.normal.contains(&name) || (tests && rule.tests.contains(&name));
            if !allowed {
                let how = if tests { "for its tests " } else { "" };
                findings.push(Finding::new(
                    &manifest,
                    0,
                    format!("{} may not depend {how}on {name}", package.name),
                ));
            }
        }
    }
    findings
}

fn manifest(metadata: &Metadata, path: &cargo_metadata::camino::Utf8Path) -> String {
    path.strip_prefix(&metadata.workspace_root)
        .unwrap_or(path)
        .to_string()
}
