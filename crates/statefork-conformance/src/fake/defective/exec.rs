//! What can be wrong with further commands.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use statefork_runtime::{
    ContainerId, Containers, ErrorKind, Exec, ExecControl, ExecExit, ExecRequest, Result,
    RuntimeError, TerminalSize,
};

use super::super::exec::KILLED;
use super::containers::merged;
use super::{Defect, DefectiveRuntime};

/// Output beyond so many pieces is cut, where that is the defect.
const PIECES: usize = 1000;

/// Controls that lie.
struct LyingControl {
    control: Option<Box<dyn ExecControl>>,
    defect: Defect,
}

#[async_trait]
impl ExecControl for LyingControl {
    async fn resize(&self, size: TerminalSize) -> Result<()> {
        match &self.control {
            Some(control) if self.defect != Defect::ExecIgnoresResize => control.resize(size).await,
            _ => Ok(()),
        }
    }

    async fn wait(&self) -> Result<ExecExit> {
        let Some(control) = &self.control else {
            return Ok(ExecExit::Code(1));
        };
        let exit = control.wait().await?;
        match (self.defect, exit) {
            (Defect::ExecAlwaysSucceeds, _) => Ok(ExecExit::Code(0)),
            (Defect::ExecOutlivesItsContainer, ExecExit::Code(KILLED)) => {
                std::future::pending().await
            }
            _ => Ok(exit),
        }
    }
}

impl DefectiveRuntime {
    pub(super) async fn defective_exec(
        &self,
        container: &ContainerId,
        request: &ExecRequest,
    ) -> Result<Exec> {
        let mut request = request.clone();
        match self.defect {
            Defect::ExecHasNoTerminal => request.terminal = None,
            Defect::ExecIgnoresSettings => {
                request.env.clear();
                request.user = None;
                request.workdir = None;
            }
            Defect::ExecIgnoresTheContainer => {
                request.user.get_or_insert_with(|| "root".into());
                request.workdir.get_or_insert_with(|| "/".into());
            }
            Defect::ExecWaitsForInput if !request.stdin => request.stdin = true,
            Defect::ExecWantsToBeAlone if Arc::strong_count(&self.turn) > 1 => {
                return Err(RuntimeError::Unsupported {
                    op: "run a command",
                    reason: "another one runs".into(),
                });
            }
            Defect::SiblingsShareFiles => self.repeat_in_siblings(container, &request).await?,
            _ => {}
        }
        let started = match (self.defect, self.fake.exec(container, &request).await) {
            (Defect::ExecTakesAnyUser, Err(error)) if error.kind() == ErrorKind::Invalid => {
                request.user = None;
                request.workdir = None;
                self.fake.exec(container, &request).await
            }
            (Defect::ExecHidesTheState, Err(error)) if error.kind() == ErrorKind::WrongState => {
                return Ok(Exec {
                    output: stream::empty().boxed(),
                    input: None,
                    control: Box::new(LyingControl {
                        control: None,
                        defect: self.defect,
                    }),
                });
            }
            (_, started) => started,
        };
        self.spoiled_exec(self.spoiled(started)?)
    }

    fn spoiled_exec(&self, mut exec: Exec) -> Result<Exec> {
        match self.defect {
            Defect::ExecMergesStreams => exec.output = merged(exec.output),
            Defect::ExecReadsNothing if exec.input.is_some() => {
                exec.input = Some(Box::new(tokio::io::sink()));
            }
            Defect::ExecWaitsForInput => {
                if let Some(mut input) = exec.input.take() {
                    let (ours, mut theirs) = tokio::io::duplex(64);
                    self.memory().inputs.push(ours);
                    tokio::spawn(async move { tokio::io::copy(&mut theirs, &mut input).await });
                }
            }
            Defect::ExecWantsText => {
                exec.output = exec
                    .output
                    .map(|output| {
                        output.map(|mut output| {
                            let text = String::from_utf8_lossy(&output.bytes).into_owned();
                            output.bytes = Bytes::from(text);
                            output
                        })
                    })
                    .boxed();
            }
            Defect::ExecCutsOutput => exec.output = exec.output.take(PIECES).boxed(),
            Defect::ExecFailsWithoutProgram => {
                let ended = exec.control.wait().now_or_never();
                if let Some(Ok(ExecExit::NotFound | ExecExit::NotExecutable)) = ended {
                    return Err(RuntimeError::Daemon {
                        op: "run a command",
                        status: Some(400),
                        message: "OCI runtime exec failed".into(),
                        source: None,
                    });
                }
            }
            Defect::ExecWantsToBeAlone => {
                let turn = Arc::clone(&self.turn);
                exec.output = exec
                    .output
                    .map(move |output| {
                        let _held = &turn;
                        output
                    })
                    .boxed();
            }
            Defect::ExecAlwaysSucceeds
            | Defect::ExecIgnoresResize
            | Defect::ExecOutlivesItsContainer => {
                exec.control = Box::new(LyingControl {
                    control: Some(exec.control),
                    defect: self.defect,
                });
            }
            _ => {}
        }
        Ok(exec)
    }

    /// Runs the command in the other containers of the same image, to its end.
    async fn repeat_in_siblings(&self, one: &ContainerId, request: &ExecRequest) -> Result<()> {
        let image = self.fake.inspect(one).await?.map(|found| found.image);
        for other in self.fake.containers() {
            if Some(&other.image) == image.as_ref() && other.id != *one && other.pid.is_some() {
                let exec = self.fake.exec(&other.id, request).await?;
                exec.control.wait().await?;
            }
        }
        Ok(())
    }
}
