//! The client of the database: it writes one transaction after the other, at the branch's address,
//! and connects again whenever its connection is lost.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{sleep, timeout};
use tokio_postgres::NoTls;

use super::journal::Journal;

/// How long a connection or a statement may take: longer than any restore, in which it is held.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two transactions, so that a run of many rounds stays small.
const PAUSE: Duration = Duration::from_millis(4);

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(20);

const TABLES: &str = "\
CREATE EXTENSION amcheck;
CREATE TABLE entries (n bigint PRIMARY KEY, payload text NOT NULL);
CREATE TABLE totals (entries bigint NOT NULL);
INSERT INTO totals VALUES (0);";

/// Whether no transaction is there by halves and each row is what was written.
const WHOLE: &str = "\
SELECT (SELECT count(*) FROM entries) = (SELECT entries FROM totals)
   AND (SELECT coalesce(bool_and(payload = repeat(md5(n::text), 8)), true) FROM entries)";

/// A database at an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Database(pub(super) SocketAddr);

impl Database {
    /// Makes the tables.
    pub(super) fn prepare(self) -> Result<()> {
        block_on(async {
            let client = self.connect().await?;
            limited(client.batch_execute(TABLES)).await
        })
    }

    /// Waits until a query is answered, and returns how long it took.
    ///
    /// # Errors
    ///
    /// When none is within this time.
    pub(super) fn answers_within(self, patience: Duration) -> Result<Duration> {
        let begun = Instant::now();
        let asked = block_on(async {
            let ask = async {
                loop {
                    let answer = async {
                        let client = self.connect().await?;
                        limited(client.batch_execute("SELECT 1")).await
                    };
                    if answer.await.is_ok() {
                        return;
                    }
                    sleep(RETRY).await;
                }
            };
            Ok(timeout(patience, ask).await?)
        });
        asked.with_context(|| format!("the database does not answer within {patience:?}"))?;
        Ok(begun.elapsed())
    }

    /// The numbers of the transactions that it holds.
    ///
    /// # Errors
    ///
    /// When one is there by halves, or does not read as it was written.
    pub(super) fn rows(self) -> Result<BTreeSet<u64>> {
        block_on(async {
            let client = self.connect().await?;
            let whole: bool = limited(client.query_one(WHOLE, &[])).await?.try_get(0)?;
            ensure!(whole, "the rows are not those that were written");
            let rows = limited(client.query("SELECT n FROM entries", &[])).await?;
            let numbers = rows
                .iter()
                .map(|row| Ok(u64::try_from(row.try_get::<_, i64>(0)?)?));
            numbers.collect()
        })
    }

    async fn connect(self) -> Result<tokio_postgres::Client> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(self.0.ip().to_string())
            .port(self.0.port())
            .user("postgres")
            .dbname("postgres");
        let (client, connection) = limited(config.connect(NoTls)).await?;
        // Its failure is also that of the statement, which tells it.
        tokio::spawn(connection);
        Ok(client)
    }

    /// Writes a transaction: one statement, which changes two tables or none.
    async fn write(self, client: &tokio_postgres::Client, n: u64) -> Result<()> {
        limited(client.batch_execute(&format!(
            "WITH entry AS (INSERT INTO entries VALUES ({n}, repeat(md5('{n}'), 8))) \
             UPDATE totals SET entries = entries + 1"
        )))
        .await
    }
}

/// A thread that writes all the time.
#[derive(Debug)]
pub(super) struct Writer {
    journal: Arc<Mutex<Journal>>,
    /// Held while a transaction is on its way.
    turn: Arc<AsyncMutex<()>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Writer {
    /// Begins to write.
    pub(super) fn start(database: Database, journal: Journal) -> Self {
        let journal = Arc::new(Mutex::new(journal));
        let turn = Arc::new(AsyncMutex::new(()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (journal, turn, stop) = (journal.clone(), turn.clone(), stop.clone());
            move || block_on(write(database, &journal, &turn, &stop))
        });
        Self {
            journal,
            turn,
            stop,
            thread: Some(thread),
        }
    }

    /// The journal.
    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    /// Does something while no transaction is on its way.
    pub(super) fn quiet<T>(&self, action: impl FnOnce() -> Result<T>) -> Result<T> {
        let _turn = self.turn.blocking_lock();
        action()
    }

    /// Ends, and says if it could not write the journal.
    pub(super) fn end(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => anyhow::bail!("the writing thread panicked"),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            println!("  the client: {error:#}");
        }
    }
}

async fn write(
    database: Database,
    journal: &Mutex<Journal>,
    turn: &AsyncMutex<()>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut connected = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(client) = &connected else {
            match database.connect().await {
                Ok(client) => connected = Some(client),
                Err(_) => sleep(RETRY).await,
            }
            continue;
        };
        {
            let _turn = turn.lock().await;
            let n = lock(journal).begin()?;
            match database.write(client, n).await {
                Ok(()) => lock(journal).acknowledge(n)?,
                Err(error) => {
                    lock(journal).note(format_args!("unknown {n}: {error:#}"))?;
                    connected = None;
                }
            }
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

fn lock(journal: &Mutex<Journal>) -> MutexGuard<'_, Journal> {
    journal
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn limited<T>(asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
    let answer = timeout(PATIENCE, asked).await;
    Ok(answer.with_context(|| format!("the database says nothing for {PATIENCE:?}"))??)
}

fn block_on<T>(action: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(action)
}
