//! Layers, and whose they are.

use rusqlite::{OptionalExtension, Transaction, params};
use statefork_runtime::Result;

use super::{Books, Failure, LayerId};
use crate::plan::ProcessRef;

/// A layer that was entered and is not whole yet.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Its number.
    pub(crate) layer: LayerId,
    /// Bytes of its files' contents.
    pub(crate) size_bytes: u64,
    /// SHA-256 of the archive that it was unpacked from, in hexadecimal.
    pub(crate) digest: Option<String>,
}

impl Books {
    /// Enters a layer that `owner`, this process, is about to write.
    pub(crate) fn begin_layer(&self, owner: &ProcessRef) -> Result<LayerId> {
        self.change("enter a layer", |books| {
            books.execute(
                "INSERT INTO layer (state, owner) VALUES ('making', ?)",
                [serde_json::to_string(owner)?],
            )?;
            Ok(LayerId(books.last_insert_rowid()))
        })
    }

    /// The layer that was unpacked from an archive with this digest.
    pub(crate) fn layer_of_digest(&self, digest: &str) -> Result<Option<LayerId>> {
        self.look("look a layer up", |books| {
            let found = books
                .query_row(
                    "SELECT id FROM layer WHERE digest = ? AND state = 'made'",
                    [digest],
                    |row| row.get(0).map(LayerId),
                )
                .optional()?;
            Ok(found)
        })
    }

    /// Gives up a layer that is not published: its files may go from now on.
    pub(crate) fn give_up_layer(&self, layer: LayerId) -> Result<()> {
        self.change("give a layer up", |books| {
            books.execute(
                "UPDATE layer SET state = 'going' WHERE id = ? AND state = 'making'",
                [layer.0],
            )?;
            Ok(())
        })
    }

    /// Layers that nobody needs and whose process is gone, or is this one and has given them up:
    /// their files are to be removed, and then [`forgotten`](Self::forget_layer).
    pub(crate) fn stranded(&self, alive: impl Fn(&ProcessRef) -> bool) -> Result<Vec<LayerId>> {
        self.look("look for layers that nobody needs", |books| {
            let mut query =
                books.prepare("SELECT id, state, owner FROM layer WHERE state <> 'made'")?;
            let mut rows = query.query([])?;
            let mut stranded = Vec::new();
            while let Some(row) = rows.next()? {
                let state: String = row.get(1)?;
                let owner: Option<String> = row.get(2)?;
                let owner: Option<ProcessRef> =
                    owner.map(|text| serde_json::from_str(&text)).transpose()?;
                if state == "going" || !owner.is_some_and(|owner| alive(&owner)) {
                    stranded.push(LayerId(row.get(0)?));
                }
            }
            Ok(stranded)
        })
    }

    /// Takes a layer whose files are gone off the books.
    pub(crate) fn forget_layer(&self, layer: LayerId) -> Result<()> {
        self.change("forget a layer", |books| {
            books.execute(
                "DELETE FROM layer WHERE id = ?1 AND state <> 'made'
                 AND NOT EXISTS (SELECT 1 FROM chain WHERE layer = ?1)",
                [layer.0],
            )?;
            Ok(())
        })
    }

    /// How many bytes the contents of these layers have.
    pub(crate) fn bytes_of(&self, layers: &[LayerId]) -> Result<u64> {
        self.look("look layers up", |books| {
            let mut query = books.prepare("SELECT size_bytes FROM layer WHERE id = ?")?;
            let mut sum = 0;
            for layer in layers {
                sum += query.query_row([layer.0], |row| row.get::<_, u64>(0))?;
            }
            Ok(sum)
        })
    }
}

/// Makes a drafted layer one that is there, and says which one has its files from now on: itself, or the
/// one that was unpacked from the same archive meanwhile, so that images of one layer share it. Then the
/// draft stays one.
pub(super) fn publish(books: &Transaction<'_>, draft: &Draft) -> Result<LayerId, Failure> {
    let same = books
        .query_row(
            "SELECT id FROM layer WHERE digest = ?",
            [&draft.digest],
            |row| row.get(0).map(LayerId),
        )
        .optional()?;
    if let Some(same) = same {
        return Ok(same);
    }
    books.execute(
        "UPDATE layer SET state = 'made', owner = NULL, size_bytes = ?, digest = ? WHERE id = ?",
        params![draft.size_bytes, draft.digest, draft.layer.0],
    )?;
    Ok(draft.layer)
}

/// The chain of an owner, the lowest layer first.
pub(super) fn chain(books: &Transaction<'_>, owner: &str) -> Result<Vec<LayerId>, Failure> {
    let mut query =
        books.prepare_cached("SELECT layer FROM chain WHERE owner = ? ORDER BY position")?;
    let layers = query
        .query_map([owner], |row| row.get(0).map(LayerId))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(layers)
}

/// Gives an owner a chain in place of the one that it has, which is empty where it has none. Layers
/// that are in no chain any more are marked as going.
pub(super) fn set_chain(
    books: &Transaction<'_>,
    owner: &str,
    layers: &[LayerId],
) -> Result<(), Failure> {
    let former = chain(books, owner)?;
    books.execute("DELETE FROM chain WHERE owner = ?", [owner])?;
    let mut insert =
        books.prepare_cached("INSERT INTO chain (owner, position, layer) VALUES (?, ?, ?)")?;
    for (position, layer) in layers.iter().enumerate() {
        insert.execute(params![owner, position, layer.0])?;
    }
    let mut release = books.prepare_cached(
        "UPDATE layer SET state = 'going', digest = NULL
         WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM chain WHERE layer = ?1)",
    )?;
    for layer in former {
        release.execute([layer.0])?;
    }
    Ok(())
}
