//! What a shim has to tell when nobody listens: a file of bounded size.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Size at which the file begins anew.
const MAX_BYTES: u64 = 64 * 1024;

/// For so long a line that equals the latest one is only counted.
const REPEAT: Duration = Duration::from_secs(10);

/// The log; clones write to the same file.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Mutex<LogFile>>);

#[derive(Debug)]
struct LogFile {
    file: File,
    latest: Option<Latest>,
}

#[derive(Debug)]
struct Latest {
    text: String,
    at: Instant,
    repeats: u64,
}

impl Log {
    /// Writes to `file`, which is open for appending.
    pub(crate) fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new(LogFile { file, latest: None })))
    }

    /// Writes one line. A log that cannot be written has nowhere to say so: the line is lost.
    pub(crate) fn line(&self, text: fmt::Arguments<'_>) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = text.to_string();
        if let Some(latest) = &mut log.latest
            && latest.text == text
            && latest.at.elapsed() < REPEAT
        {
            latest.repeats += 1;
            return;
        }
        let repeats = log.latest.take().map_or(0, |latest| latest.repeats);
        let written = log.write(&text, repeats);
        log.latest = written.is_ok().then(|| Latest {
            text,
            at: Instant::now(),
            repeats: 0,
        });
    }
}

impl LogFile {
    fn write(&mut self, text: &str, repeats: u64) -> io::Result<()> {
        let now = Timestamp::now();
        let mut line = String::new();
        if self.file.metadata()?.len() > MAX_BYTES {
            self.file.set_len(0)?;
            line = format!("{now:.3} earlier lines were dropped\n");
        }
        if repeats > 0 {
            line += &format!("{now:.3} the same {repeats} more times\n");
        }
        line += &format!("{now:.3} {text}\n");
        self.file.write_all(line.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    fn log() -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().unwrap();
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(dir.path().join("log"))
            .unwrap();
        (dir, Log::new(file))
    }

    #[test]
    fn it_stays_small() {
        let (dir, log) = log();
        for number in 0..5000 {
            log.line(format_args!("line {number} {}", "x".repeat(40)));
        }
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(text.len() < 66 * 1024, "{} bytes", text.len());
        assert!(text.contains("earlier lines were dropped"));
        assert!(text.contains("line 4999"));
    }

    #[test]
    fn repetitions_are_counted() {
        let (dir, log) = log();
        for _ in 0..100 {
            log.line(format_args!("the same"));
        }
        log.line(format_args!("another"));
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("the same 99 more times"), "{text}");
    }
}
