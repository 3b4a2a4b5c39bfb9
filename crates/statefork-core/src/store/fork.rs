//! Branches that forks make, in the store.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction};

use super::{NewOperation, Store, damaged, time};
use crate::error::Result;
use crate::model::{Branch, SnapshotId};

impl Store {
    /// Writes the intents of forks together with the branches that they name, each with the
    /// operation's target as its head and without a container; the operations' sequence numbers with
    /// the branches, in the order of the intents. `None`, and nothing is written: a branch or a tag
    /// has one of the names.
    pub(crate) fn begin_forks(
        &self,
        environment: i64,
        forks: &[NewOperation<'_>],
        expires_at: Option<Timestamp>,
    ) -> Result<Option<Vec<(i64, Branch)>>> {
        self.write(|transaction| {
            for name in forks.iter().filter_map(|fork| fork.branch) {
                if is_taken(transaction, environment, name)? {
                    return Ok(None);
                }
            }
            let begun = forks
                .iter()
                .map(|fork| begin(transaction, environment, fork, expires_at));
            begun.collect::<Result<_>>().map(Some)
        })
    }

    /// The branches whose time is over.
    pub(crate) fn expired(&self, environment: i64, now: Timestamp) -> Result<Vec<Branch>> {
        let branches = self.branches(environment)?.into_iter();
        let is_over = |branch: &Branch| branch.expires_at.is_some_and(|end| end <= now);
        Ok(branches.filter(is_over).collect())
    }

    /// When the next branch of an environment ends by itself, if one does.
    pub(crate) fn next_end(&self, environment: i64) -> Result<Option<Timestamp>> {
        let connection = self.lock();
        let end: Option<i64> = connection
            .prepare_cached("SELECT min(expires_at) FROM branches WHERE environment = ?1")?
            .query_row([environment], |row| row.get(0))?;
        end.map(time).transpose()
    }

    /// Takes a fork's branch back that was not published, or no longer is.
    pub(crate) fn remove_fork(&self, branch: &Branch) -> Result<()> {
        self.lock()
            .execute("DELETE FROM branches WHERE number = ?1", [branch.number])?;
        Ok(())
    }
}

fn is_taken(transaction: &Transaction<'_>, environment: i64, name: &str) -> Result<bool> {
    let taken = transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM branches WHERE environment = ?1 AND name = ?2)
                 OR EXISTS (SELECT 1 FROM tags WHERE environment = ?1 AND name = ?2)",
        )?
        .query_row((environment, name), |row| row.get(0))?;
    Ok(taken)
}

fn begin(
    transaction: &Transaction<'_>,
    environment: i64,
    fork: &NewOperation<'_>,
    expires_at: Option<Timestamp>,
) -> Result<(i64, Branch)> {
    let (Some(name), Some(head)) = (fork.branch, fork.target) else {
        return Err(damaged("a fork", "it names no branch or no snapshot"));
    };
    let position: i64 = position(transaction, environment, head)?;
    transaction
        .prepare_cached(
            "INSERT INTO branches (environment, name, head, ports, created_at, expires_at)
             VALUES (?1, ?2, ?3, '[]', ?4, ?5)",
        )?
        .execute((
            environment,
            name,
            position,
            fork.started_at.as_microsecond(),
            expires_at.map(Timestamp::as_microsecond),
        ))?;
    let number = transaction.last_insert_rowid();
    let seq = super::operation::insert(transaction, fork)?;
    let branch = Branch {
        number,
        name: name.to_owned(),
        head: head.clone(),
        container: None,
        ports: Vec::new(),
        created_at: fork.started_at,
        expires_at,
    };
    Ok((seq, branch))
}

fn position(transaction: &Transaction<'_>, environment: i64, id: &SnapshotId) -> Result<i64> {
    let position = transaction
        .prepare_cached("SELECT position FROM snapshots WHERE environment = ?1 AND id = ?2")?
        .query_row((environment, id.as_str()), |row| row.get(0))
        .optional()?;
    position.ok_or_else(|| damaged(format!("snapshot {id}"), "it is not there"))
}
