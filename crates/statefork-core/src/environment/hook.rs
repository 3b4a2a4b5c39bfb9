//! The hook `after_restore`: a program of the application's own, run in each container that comes from
//! a snapshot before anybody is led to it. It makes new what two containers must not share: seeds,
//! registrations, leases.

use std::collections::VecDeque;

use futures_util::StreamExt;
use statefork_runtime::{Container, EnvVar, ExecExit, ExecRequest, Phase};

use super::Environment;
use super::handover::Successor;
use crate::error::{CoreError, HookFailure, Result};
use crate::model::OperationKind;
use crate::operation::Recorder;
use crate::store::EnvironmentRecord;

/// How many of its last lines a hook that failed is quoted with.
const LAST_LINES: usize = 20;
/// How many of its last bytes are kept for that.
const LAST_BYTES: usize = 16 * 1024;

impl Environment {
    /// Runs the environment's hook, if it has one, in a container that is ready, and waits for its
    /// end. The first `up` restores nothing, so it runs none.
    ///
    /// Errors: `HookFailed` if it ends otherwise than with 0, is not there or takes too long.
    pub(super) async fn run_hook(
        &self,
        recorder: &Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &str,
        successor: &Successor,
        container: &Container,
    ) -> Result<()> {
        let hooks = &record.settings.hooks;
        let snapshot = &successor.snapshot;
        let is_first = recorder.kind() == OperationKind::Up && snapshot.parent.is_none();
        let Some(argv) = hooks.after_restore.as_ref().filter(|_| !is_first) else {
            return Ok(());
        };
        let variables = [
            ("STATEFORK_ENVIRONMENT", self.name.as_str()),
            ("STATEFORK_BRANCH", branch),
            ("STATEFORK_SNAPSHOT", snapshot.id.as_str()),
            ("STATEFORK_OPERATION", recorder.kind().as_str()),
        ];
        let request = ExecRequest {
            argv: argv.clone(),
            env: variables
                .map(|(name, value)| EnvVar {
                    name: name.to_owned(),
                    value: value.to_owned(),
                })
                .into(),
            ..ExecRequest::default()
        };
        let mut tail = Tail::default();
        let run = tokio::time::timeout(hooks.timeout, self.run(container, &request, &mut tail));
        let run = self
            .options
            .cancel
            .or(async { Ok::<_, CoreError>(run.await) });
        let failure = match recorder.phases.time(Phase::Hook, run).await? {
            Ok(Ok(ExecExit::Code(0))) => return Ok(()),
            Ok(Ok(ExecExit::Code(code))) => HookFailure::Exited { code },
            Ok(Ok(ExecExit::NotFound)) => HookFailure::NotFound,
            Ok(Ok(ExecExit::NotExecutable)) => HookFailure::NotExecutable,
            Ok(Err(error)) => return Err(error),
            Err(_elapsed) => HookFailure::TimedOut {
                after: hooks.timeout,
            },
        };
        Err(CoreError::HookFailed {
            program: argv.first().cloned().unwrap_or_default(),
            container: container.name.clone(),
            failure,
            tail: tail.lines(),
        })
    }

    async fn run(
        &self,
        container: &Container,
        request: &ExecRequest,
        tail: &mut Tail,
    ) -> Result<ExecExit> {
        let mut exec = self.runtime.exec(&container.id, request).await?;
        while let Some(output) = exec.output.next().await {
            tail.add(&output?.bytes);
        }
        Ok(exec.control.wait().await?)
    }
}

/// The end of what a program wrote.
#[derive(Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let beyond = self.0.len().saturating_sub(LAST_BYTES);
        self.0.drain(..beyond);
    }

    fn lines(mut self) -> Vec<String> {
        let text = String::from_utf8_lossy(self.0.make_contiguous());
        let lines: Vec<&str> = text.lines().collect();
        let beyond = lines.len().saturating_sub(LAST_LINES);
        lines
            .iter()
            .skip(beyond)
            .map(|&line| line.to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_much_output_the_end_is_kept() {
        let mut tail = Tail::default();
        for number in 0..100_000 {
            tail.add(format!("line {number}\n").as_bytes());
        }
        let lines = tail.lines();
        assert_eq!(lines.len(), LAST_LINES);
        assert_eq!(lines.last().map(String::as_str), Some("line 99999"));
    }
}
