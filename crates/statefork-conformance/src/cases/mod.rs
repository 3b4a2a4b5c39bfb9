//! The table of cases.

mod exec;
mod images;
mod lifecycle;
mod logs;
mod spec;

use crate::case::Case;

/// All cases, group by group.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        lifecycle::CASES,
        spec::CASES,
        images::CASES,
        exec::CASES,
        logs::CASES,
    ]
    .into_iter()
    .flatten()
}
