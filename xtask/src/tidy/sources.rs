//! Rules about the text of single files.

use std::collections::BTreeSet;

use super::documents::LINES;
use super::{Finding, Source};

// In two parts, so that this file does not break its own rules.
const MACROS: [&str; 3] = [
    concat!("to", "do!"),
    concat!("db", "g!"),
    concat!("unimple", "mented!"),
];
const MARKERS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
const MACHINE_DIRS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// Files that are not written by hand, or not by us.
const FOREIGN: [&str; 2] = ["Cargo.lock", "LICENSE"];

/// Files that count as code.
const CODE: [&str; 3] = [".rs", ".py", ".sh"];

/// Checks one file.
pub(super) fn check(source: &Source, large: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    let path = source.path.as_str();
    if FOREIGN.contains(&path) {
        return;
    }
    if path.ends_with(".rs") && !source.text.starts_with("//!") {
        findings.push(Finding::new(
            path,
            1,
            "the file does not open with `//!` and what it is for",
        ));
    }
    let lines = source.text.lines().count();
    if lines > LINES && CODE.iter().any(|ending| path.ends_with(ending)) && !large.contains(path) {
        let message = format!(
            "{lines} lines, more than {LINES}: split it, or name it with the reason under \
             \"Large files\" in ARCHITECTURE.md"
        );
        findings.push(Finding::new(path, 0, message));
    }
    for (index, line) in source.text.lines().enumerate() {
        let mut report = |message: String| findings.push(Finding::new(path, index + 1, message));
        if path.ends_with(".rs")
            && let Some(found) = MACROS.iter().find(|found| has_word(line, found))
        {
            report(format!("`{found}` is left over"));
        }
        if let Some(found) = MARKERS.iter().find(|found| has_word(line, found))
            && !names_issue(line)
        {
            report(format!("{found} without the number of an issue (#N)"));
        }
        if let Some(found) = MACHINE_DIRS.iter().find(|found| has_path(line, found)) {
            report(format!("{found} is a directory of one developer's machine"));
        }
    }
}

/// Whether a word occurs on its own and not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        !line[..at].ends_with(is_part) && (word.ends_with('!') || !after.starts_with(is_part))
    })
}

/// Whether an absolute path begins so; in `a/b/` it would be a relative one.
fn has_path(line: &str, dir: &str) -> bool {
    line.match_indices(dir)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_.-~}/".contains(c)))
}

fn names_issue(line: &str) -> bool {
    line.split('#')
        .skip(1)
        .any(|after| after.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole_and_paths_absolute() {
        assert!(has_word("x TODAY TO", "TO"));
        assert!(!has_word("x TODAY NOTO", "TO"));
        assert!(has_path("cd /a/b", "/a/"));
        assert!(has_path("\"/a/b\"", "/a/"));
        assert!(!has_path("x/a/b", "/a/"));
        assert!(!has_path("https://host.example/a/b", "/a/"));
    }

    #[test]
    fn an_issue_has_a_number() {
        assert!(names_issue("see #12"));
        assert!(!names_issue("# heading #"));
    }
}
