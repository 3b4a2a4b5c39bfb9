//! The boundaries between the parts of an operation, at which a test has the process end.
//!
//! With the feature `crash-points`, `STATEFORK_CRASH_AT=PID:N` ends process PID by SIGKILL when it
//! passes its N-th boundary; standard error says which that was. The pid keeps what the process has
//! started from following it. In a build without the feature a boundary is nothing.

use std::fmt;

use crate::Phase;

/// A boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The intent is in the log.
    Logged,
    /// A phase is about to begin.
    Begin(Phase),
    /// A phase has ended.
    End(Phase),
    /// All is done, but the log does not say so.
    Acted,
    /// The log says how it ended.
    Recorded,
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logged => f.write_str("logged"),
            Self::Begin(phase) => write!(f, "{phase}:begin"),
            Self::End(phase) => write!(f, "{phase}:end"),
            Self::Acted => f.write_str("acted"),
            Self::Recorded => f.write_str("recorded"),
        }
    }
}

impl Boundary {
    /// The process is at this boundary.
    #[cfg(feature = "crash-points")]
    pub fn pass(self) {
        use std::sync::atomic::{AtomicUsize, Ordering};

        static PASSED: AtomicUsize = AtomicUsize::new(0);
        let Ok(wanted) = std::env::var("STATEFORK_CRASH_AT") else {
            return;
        };
        let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
        if wanted == format!("{}:{number}", std::process::id()) {
            eprintln!("killed at {self}");
            let this = rustix::process::getpid();
            rustix::process::kill_process(this, rustix::process::Signal::KILL)
                .expect("a process may kill itself");
        }
    }

    /// The process is at this boundary.
    #[cfg(not(feature = "crash-points"))]
    pub fn pass(self) {}
}
