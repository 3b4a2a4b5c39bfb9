//! `branch`: list, remove, rename and promote branches.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use statefork_core::environment::{BranchList, BranchView};

use super::restore;
use crate::call::Call;
use crate::documents::{self, Port, ports, time};
use crate::failure::Result;
use crate::text::{self, Layout, table};

/// List, remove, rename or promote branches
///
/// Without a subcommand they are listed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork branch\n  statefork branch rm 'trial-*'")]
pub(crate) struct Branch {
    #[command(subcommand)]
    command: Option<BranchCommand>,
}

#[derive(Debug, Subcommand)]
enum BranchCommand {
    /// List the branches with their containers
    #[command(after_help = "Example:\n  statefork --json branch list")]
    List,
    /// Remove branches with their containers; their snapshots stay
    #[command(after_help = "Example:\n  statefork branch rm trial-1 'old-*'")]
    Rm {
        /// Names, or patterns with * and ?
        #[arg(required = true, value_name = "NAME|GLOB")]
        branch: Vec<String>,
    },
    /// Give a branch another name
    #[command(after_help = "Example:\n  statefork branch rename trial-1 winner")]
    Rename {
        /// The branch
        #[arg(value_name = "OLD")]
        branch: String,
        /// Its new name
        new: String,
    },
    /// Make a branch's head that of main, whose container is replaced by one from it
    #[command(after_help = "Example:\n  statefork branch promote winner")]
    Promote {
        /// The branch
        #[arg(value_name = "NAME")]
        branch: String,
    },
}

#[derive(Serialize)]
struct ListDocument {
    current: Option<String>,
    branches: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    head: String,
    state: &'static str,
    container: Option<String>,
    ports: Vec<Port>,
    created_at: String,
    standby: Vec<String>,
    expires_at: Option<String>,
}

#[derive(Serialize)]
struct RemoveDocument<'a> {
    removed: &'a [String],
}

#[derive(Serialize)]
struct RenameDocument<'a> {
    name: &'a str,
    former: &'a str,
}

impl From<&BranchView> for Listed {
    fn from(view: &BranchView) -> Self {
        let branch = &view.branch;
        Self {
            name: branch.name.clone(),
            head: branch.head.to_string(),
            state: state(view),
            container: branch.container.as_ref().map(|live| live.id.to_string()),
            ports: ports(&branch.ports),
            created_at: time(branch.created_at),
            standby: view
                .standby
                .iter()
                .map(|prepared| prepared.snapshot.to_string())
                .collect(),
            expires_at: branch.expires_at.map(time),
        }
    }
}

impl Branch {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        match &self.command {
            None | Some(BranchCommand::List) => list(call).await,
            Some(BranchCommand::Rm { branch }) => remove(call, branch).await,
            Some(BranchCommand::Rename { branch, new }) => rename(call, branch, new).await,
            Some(BranchCommand::Promote { branch }) => {
                let opened = call.open()?;
                let work = opened.environment.promote(branch);
                let during = format!("promoting {branch}");
                let report = opened.progress.during(&during, work).await?;
                restore::answer(call, &report)
            }
        }
    }
}

async fn list(call: &Call<'_>) -> Result<()> {
    let opened = call.read()?;
    let look = call.interrupt.or(opened.environment.branches());
    let list = opened.progress.during("looking", look).await?;
    let document = || ListDocument {
        current: list.as_ref().map(|list| list.current.clone()),
        branches: list
            .iter()
            .flat_map(|list| &list.branches)
            .map(Into::into)
            .collect(),
    };
    let name = opened.environment.name();
    let runtime = opened.environment.runtime_name();
    call.answer(document, |layout| match &list {
        Some(list) => shown(list, Timestamp::now(), layout),
        None => format!("environment {name:?} does not exist on {runtime}\n"),
    })
}

async fn remove(call: &Call<'_>, patterns: &[String]) -> Result<()> {
    let opened = call.open()?;
    let work = opened.environment.remove_branches(patterns);
    let removed = opened.progress.during("removing branches", work).await?;
    if let Some(own) = call.session.branch()?
        && removed.contains(&own)
    {
        call.session.set_branch(statefork_core::MAIN);
    }
    call.answer(
        || RemoveDocument { removed: &removed },
        |_| {
            let lines = removed.iter();
            lines
                .map(|name| format!("removed branch {name}\n"))
                .collect()
        },
    )
}

async fn rename(call: &Call<'_>, former: &str, name: &str) -> Result<()> {
    let opened = call.open()?;
    opened.environment.rename_branch(former, name).await?;
    if call.session.branch()?.as_deref() == Some(former) {
        call.session.set_branch(name);
    }
    call.answer(
        || RenameDocument { name, former },
        |_| format!("branch {former} is {name} now\n"),
    )
}

fn state(view: &BranchView) -> &'static str {
    match (&view.branch.container, &view.container) {
        (None, _) => "down",
        (Some(_), None) => "lost",
        (Some(_), Some(container)) => documents::state(container.state),
    }
}

fn shown(list: &BranchList, now: Timestamp, layout: Layout) -> String {
    let rows = list.branches.iter().map(|view| {
        let branch = &view.branch;
        let star = if branch.name == list.current { "*" } else { "" };
        let live = branch.container.as_ref();
        [
            star.to_owned(),
            branch.name.clone(),
            branch.head.to_string(),
            state(view).to_owned(),
            live.map_or_else(|| "-".to_owned(), |live| live.id.short().to_owned()),
            age(now, branch),
            text::ports(&branch.ports),
        ]
    });
    table(
        ["", "BRANCH", "HEAD", "STATE", "CONTAINER", "AGE", "PORTS"],
        rows,
        layout,
    )
}

/// How old a branch is, and for how long it is still there.
fn age(now: Timestamp, branch: &statefork_core::Branch) -> String {
    let age = text::age(now, branch.created_at);
    match branch.expires_at {
        // An age backwards: from then to now.
        Some(end) => format!("{age} ({} left)", text::age(end, now)),
        None => age,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use statefork_core::SnapshotId;

    use super::super::list::tests::PLAIN;
    use super::*;

    #[test]
    fn branches_are_a_table() {
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
        let view = |name: &str, ago: u64| BranchView {
            branch: statefork_core::Branch {
                number: 1,
                name: name.to_owned(),
                head: SnapshotId::random(),
                container: None,
                ports: vec!["8000:80".parse().unwrap()],
                created_at: now - Duration::from_secs(ago),
                expires_at: (name != "main").then(|| now + Duration::from_secs(599)),
            },
            container: None,
            standby: Vec::new(),
        };
        let list = BranchList {
            current: "trial".to_owned(),
            branches: vec![view("main", 90_000), view("trial", 61)],
        };
        insta::with_settings!({filters => vec![(r"[0-9a-f]{12}", "ID__________")]}, {
            insta::assert_snapshot!(shown(&list, now, PLAIN), @"
               BRANCH  HEAD          STATE  CONTAINER  AGE                 PORTS
               main    ID__________  down   -          1 day               127.0.0.1:8000 -> 80
            *  trial   ID__________  down   -          1 min (9 min left)  127.0.0.1:8000 -> 80
            ");
        });
    }
}
