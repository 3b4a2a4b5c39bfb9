//! The table of cases.

mod adopt;
mod capture;
mod capture_records;
mod cleanup;
mod concurrency;
mod copy;
mod copy_attributes;
mod errors;
mod exec;
mod flatten;
mod images;
mod init;
mod isolation;
mod lifecycle;
mod logs;
mod mounts;
mod rebase;
mod series;
mod spec;

use crate::case::Case;

/// All cases, group by group.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        lifecycle::CASES,
        spec::CASES,
        images::CASES,
        capture::CASES,
        capture_records::CASES,
        flatten::CASES,
        rebase::CASES,
        series::CASES,
        mounts::CASES,
        isolation::CASES,
        init::CASES,
        copy::CASES,
        copy_attributes::CASES,
        adopt::CASES,
        exec::CASES,
        logs::CASES,
        cleanup::CASES,
        errors::CASES,
        concurrency::CASES,
    ]
    .into_iter()
    .flatten()
}
