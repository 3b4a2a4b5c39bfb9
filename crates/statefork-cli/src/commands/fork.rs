//! `fork`: branches that live side by side, each from the same snapshot.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use statefork_core::SnapshotId;
use statefork_core::config::{parse_duration, parse_port_range};
use statefork_core::environment::{ForkRequest, Forked};
use statefork_runtime::{PortParseReason, PortRange};

use crate::call::Call;
use crate::documents::{Port, Took, ms, ports, time};
use crate::exit_code;
use crate::failure::{ErrorBody, Failure, Result};
use crate::kind::Kind;
use crate::text::{self, Layout, count, table};

/// Make branches that live side by side, each with a container of its own from one snapshot
///
/// Without REV the snapshot is taken now; the current branch goes on. Each fork has its own files,
/// processes, address and ports of the host. Those that fail leave nothing behind; the others stay.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  statefork fork\n  statefork fork v1 -n 8 --name trial -p \
                  9000-9007:8000\n  statefork fork --ttl 10m --name try-it\n  statefork branch rm \
                  'fork-*'"
)]
pub(crate) struct Fork {
    /// The snapshot, as in `restore` [default: one that is taken now]
    #[arg(value_name = "REV")]
    revision: Option<String>,
    /// How many
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 1)]
    count: usize,
    /// The branch's name; of several what their names begin with, before -1, -2 and so on
    #[arg(long, value_name = "PREFIX")]
    name: Option<String>,
    /// Publish a port: from a range each fork gets the first that is free [default: any free one for
    /// each port that the current branch publishes]
    #[arg(
        short = 'p',
        long = "publish",
        value_name = "[IP:]HOST[-LAST]:CONTAINER"
    )]
    publish: Vec<String>,
    /// Remove the forks by themselves after a time, such as 10m
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// Fork although the forks will write into a mount that they share
    #[arg(long)]
    share_mounts: bool,
}

#[derive(Serialize)]
struct ForkDocument {
    snapshot: String,
    taken: bool,
    forks: Vec<ForkRow>,
    duration_ms: f64,
}

#[derive(Serialize)]
struct ForkRow {
    branch: String,
    #[serde(flatten)]
    outcome: RowOutcome,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RowOutcome {
    Up {
        container: String,
        ports: Vec<Port>,
        expires_at: Option<String>,
        #[serde(flatten)]
        took: Took,
    },
    Failed {
        error: ErrorBody,
    },
}

/// What came of the forks, with failures as commands have them.
struct Answer {
    snapshot: SnapshotId,
    taken: bool,
    forks: Vec<(String, Result<Forked>)>,
    duration: Duration,
}

impl Fork {
    /// Runs it; its exit code is 1 if one of several forks failed. The failure of a single one is the
    /// command's.
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<u8> {
        let request = self.request()?;
        let opened = call.open()?;
        let during = format!("making {}", count(request.count, "fork"));
        let work = opened.environment.fork(&request);
        let report = opened.progress.during(&during, work).await?;
        let answer = Answer {
            taken: report.taken.is_some(),
            snapshot: report.id,
            forks: report
                .forks
                .into_iter()
                .map(|fork| {
                    let outcome = fork.outcome.map_err(Failure::from);
                    (
                        fork.branch,
                        outcome.map_err(|error| call.session.explain(error)),
                    )
                })
                .collect(),
            duration: report.duration,
        };
        answer.give(call)
    }

    fn request(&self) -> Result<ForkRequest> {
        Ok(ForkRequest {
            revision: self.revision.clone(),
            count: self.count,
            name: self.name.clone(),
            ports: self
                .publish
                .iter()
                .map(|text| read_range(text))
                .collect::<Result<_>>()?,
            ttl: self.ttl.as_deref().map(parse_duration).transpose()?,
            share_mounts: self.share_mounts,
        })
    }
}

impl Answer {
    fn give(mut self, call: &Call<'_>) -> Result<u8> {
        if self.forks.len() == 1
            && let Some((_, Err(failure))) = self.forks.pop_if(|(_, outcome)| outcome.is_err())
        {
            if self.taken {
                call.session.output.note(&format!(
                    "snapshot {} was taken before and stays",
                    self.snapshot
                ));
            }
            return Err(failure);
        }
        call.answer(|| ForkDocument::from(&self), |layout| self.shown(layout))?;
        Ok(self.exit_code())
    }

    fn exit_code(&self) -> u8 {
        let failures = self
            .forks
            .iter()
            .filter_map(|(_, outcome)| outcome.as_ref().err());
        let codes = failures.map(|failure| exit_code::of(Kind::of(failure)));
        codes.fold(exit_code::DONE, |worst, code| match code {
            exit_code::INTERRUPTED => code,
            _ if worst == exit_code::INTERRUPTED => worst,
            _ => exit_code::FAILED,
        })
    }

    fn shown(&self, layout: Layout) -> String {
        let up = self.forks.iter().filter(|(_, outcome)| outcome.is_ok());
        let (up, all) = (up.count(), self.forks.len());
        let what = match up == all {
            true => count(all, "fork"),
            false => format!("{up} of {all} forks"),
        };
        let rows = self.forks.iter().map(|(branch, outcome)| match outcome {
            Ok(forked) => [
                branch.clone(),
                forked.container.short().to_owned(),
                text::duration(forked.timing.usable),
                text::ports(&forked.ports),
            ],
            Err(failure) => [
                branch.clone(),
                "-".to_owned(),
                "-".to_owned(),
                failure.one_line(),
            ],
        });
        format!(
            "{what} of {} in {}\n{}",
            self.snapshot,
            text::duration(self.duration),
            table(["BRANCH", "CONTAINER", "USABLE", "PORTS"], rows, layout)
        )
    }
}

impl From<&Answer> for ForkDocument {
    fn from(answer: &Answer) -> Self {
        Self {
            snapshot: answer.snapshot.to_string(),
            taken: answer.taken,
            forks: answer.forks.iter().map(ForkRow::from).collect(),
            duration_ms: ms(answer.duration),
        }
    }
}

impl From<&(String, Result<Forked>)> for ForkRow {
    fn from((branch, outcome): &(String, Result<Forked>)) -> Self {
        Self {
            branch: branch.clone(),
            outcome: match outcome {
                Ok(forked) => RowOutcome::Up {
                    container: forked.container.to_string(),
                    ports: ports(&forked.ports),
                    expires_at: forked.expires_at.map(time),
                    took: (&forked.timing).into(),
                },
                Err(failure) => RowOutcome::Failed {
                    error: failure.body(exit_code::of(Kind::of(failure))),
                },
            },
        }
    }
}

fn read_range(text: &str) -> Result<PortRange> {
    match text.parse::<PortRange>() {
        Err(error) if error.reason() == PortParseReason::Protocol => Err(Failure::Protocol(error)),
        _ => Ok(parse_port_range(text)?),
    }
}

#[cfg(test)]
mod tests {
    use statefork_core::CoreError;
    use statefork_core::Timing;
    use statefork_runtime::ContainerId;

    use super::super::list::tests::PLAIN;
    use super::*;

    fn answer(failure: Failure) -> Answer {
        let forked = Forked {
            container: ContainerId::new("0a1b2c3d4e5f6071"),
            ports: vec!["9000:8000".parse().unwrap()],
            expires_at: None,
            timing: Timing {
                operation: 7,
                duration: Duration::from_millis(90),
                usable: Duration::from_millis(85),
                warm: Some(false),
                phases: Vec::new(),
            },
        };
        Answer {
            snapshot: SnapshotId::random(),
            taken: true,
            forks: vec![
                ("fork-1".to_owned(), Ok(forked)),
                ("fork-2".to_owned(), Err(failure)),
            ],
            duration: Duration::from_millis(101),
        }
    }

    fn no_port() -> Failure {
        let range = "9000-9001:8000".parse().unwrap();
        CoreError::NoFreePort { range }.into()
    }

    #[test]
    fn forks_are_a_table() {
        insta::with_settings!({filters => vec![(r"[0-9a-f]{12}", "ID__________")]}, {
            insta::assert_snapshot!(answer(no_port()).shown(PLAIN), @r"
            1 of 2 forks of ID__________ in 101 ms
            BRANCH  CONTAINER     USABLE  PORTS
            fork-1  ID__________  85 ms   127.0.0.1:9000 -> 8000
            fork-2  -             -       failed to find a free port in 127.0.0.1:9000-9001:8000
            ");
        });
    }

    #[test]
    fn each_fork_has_its_result_or_its_error() {
        let answer = answer(no_port());
        let document = serde_json::to_value(ForkDocument::from(&answer)).unwrap();
        let forks = document["forks"].as_array().unwrap();
        assert_eq!(forks[0]["branch"], "fork-1");
        assert_eq!(forks[0]["operation"], 7);
        assert_eq!(forks[0]["ports"][0]["host"], 9000);
        assert!(forks[0].get("error").is_none());
        assert_eq!(forks[1]["branch"], "fork-2");
        assert_eq!(forks[1]["error"]["kind"], "port_in_use");
        assert!(forks[1].get("container").is_none());
    }

    #[test]
    fn one_that_failed_fails_the_command_and_an_interruption_is_told_apart() {
        assert_eq!(answer(no_port()).exit_code(), exit_code::FAILED);
        let interrupted = answer(CoreError::Interrupted.into());
        assert_eq!(interrupted.exit_code(), exit_code::INTERRUPTED);
        let mut good = answer(no_port());
        good.forks.pop();
        assert_eq!(good.exit_code(), exit_code::DONE);
    }
}
