//! What ARCHITECTURE.md says of the tree must be so.

use std::collections::BTreeSet;

use cargo_metadata::Metadata;

use super::{Finding, Source};

const DOCUMENT: &str = "ARCHITECTURE.md";
const MAP: &str = "code map";
const LARGE: &str = "large files";

/// A file may have this many lines without being named as large.
pub(super) const LINES: usize = 500;

/// Checks the code map against the members and the named large files against the files; returns
/// the large files.
pub(super) fn check(
    metadata: &Metadata,
    sources: &[Source],
    findings: &mut Vec<Finding>,
) -> BTreeSet<String> {
    let Some(document) = sources.iter().find(|source| source.path == DOCUMENT) else {
        findings.push(Finding::new(DOCUMENT, 0, "the file is missing"));
        return BTreeSet::new();
    };
    check_map(metadata, &document.text, findings);
    check_large(sources, &document.text, findings)
}

fn check_map(metadata: &Metadata, text: &str, findings: &mut Vec<Finding>) {
    let members: BTreeSet<String> = metadata
        .workspace_packages()
        .iter()
        .filter_map(|package| package.manifest_path.parent())
        .filter_map(|dir| dir.strip_prefix(&metadata.workspace_root).ok())
        .map(ToString::to_string)
        .collect();
    let mut mapped = BTreeSet::new();
    for (line, row) in section(text, MAP) {
        let Some(path) = row.strip_prefix('|').and_then(first_code) else {
            continue;
        };
        let path = path.trim_end_matches('/');
        if !members.contains(path) {
            let message =
                format!("the code map names `{path}`, which is no member of the workspace");
            findings.push(Finding::new(DOCUMENT, line, message));
        } else if !mapped.insert(path.to_owned()) {
            let message = format!("the code map names `{path}` twice");
            findings.push(Finding::new(DOCUMENT, line, message));
        }
    }
    for path in members.difference(&mapped) {
        let message = format!("`{path}` has no row in the table of the section \"Code map\"");
        findings.push(Finding::new(DOCUMENT, 0, message));
    }
}

fn check_large(sources: &[Source], text: &str, findings: &mut Vec<Finding>) -> BTreeSet<String> {
    let mut large = BTreeSet::new();
    for (line, row) in section(text, LARGE) {
        let item = row.trim_start_matches(['|', '-', '*']);
        let Some(path) = first_code(item) else {
            continue;
        };
        let reason = item.rsplit('`').next().unwrap_or_default();
        if !reason.chars().any(char::is_alphabetic) {
            findings.push(Finding::new(
                DOCUMENT,
                line,
                format!("`{path}` is large without a reason"),
            ));
        }
        let lines = sources
            .iter()
            .find(|source| source.path == path)
            .map_or(0, |source| source.text.lines().count());
        if lines <= LINES {
            let message = format!("`{path}` is named as large but has {lines} lines");
            findings.push(Finding::new(DOCUMENT, line, message));
        }
        large.insert(path.to_owned());
    }
    large
}

/// The lines below the heading with this title, with their numbers, up to the next heading.
fn section<'t>(text: &'t str, title: &'t str) -> impl Iterator<Item = (usize, &'t str)> {
    let mut within = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.starts_with('#') {
            within = line
                .trim_start_matches('#')
                .trim()
                .eq_ignore_ascii_case(title);
            return None;
        }
        within.then_some((index + 1, line))
    })
}

/// What stands in backticks at the start of a text.
fn first_code(text: &str) -> Option<&str> {
    let (code, _) = text.trim_start().strip_prefix('`')?.split_once('`')?;
    Some(code)
}
