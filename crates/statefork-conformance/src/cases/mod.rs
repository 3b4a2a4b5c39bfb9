//! The table of cases.

mod lifecycle;

use crate::case::Case;

/// All cases, group by group.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [lifecycle::CASES].into_iter().flatten()
}
