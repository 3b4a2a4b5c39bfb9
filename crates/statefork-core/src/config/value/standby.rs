//! What containers are prepared from.

use super::{ValueError, ValueKind};
use crate::config::Candidates;

/// The most snapshots that are prepared from: more are never useful.
const MOST: u32 = 1000;

/// Reads `none`, `head`, `tags` or `recent:N`.
pub fn parse_standby(text: &str) -> Result<Candidates, ValueError> {
    match text {
        "none" => Ok(Candidates::None),
        "head" => Ok(Candidates::Head),
        "tags" => Ok(Candidates::Tags),
        _ => {
            let count = text.strip_prefix("recent:").and_then(|n| n.parse().ok());
            match count {
                Some(count) if (1..=MOST).contains(&count) => Ok(Candidates::Recent(count)),
                _ => Err(ValueError::new(
                    ValueKind::Standby,
                    text,
                    "not none, head, tags or recent:N with a number from 1 to 1000",
                )),
            }
        }
    }
}
