//! What is done whatever came before it.

use anyhow::Result;

/// The outcome of something and of the cleaning up behind it: the first error leads, and the second
/// goes with it.
pub(crate) fn and_cleaned<T>(done: Result<T>, cleaned: Result<()>) -> Result<T> {
    match (done, cleaned) {
        (Ok(value), cleaned) => cleaned.map(|()| value),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(left)) => Err(error.context(format!("{left:#}"))),
    }
}
