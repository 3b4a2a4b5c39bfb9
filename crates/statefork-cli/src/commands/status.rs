//! `status`: what is there now.

use clap::Args;
use serde::Serialize;
use statefork_core::environment::{self, LiveState};
use statefork_runtime::{Change, ChangeKind, Container, ContainerState};

use crate::call::Call;
use crate::documents::{self, Port, UnfinishedOperation, ports, time};
use crate::failure::Result;
use crate::text::{self, Layout, count, fields, first_line, printable};

/// How many changed paths people are shown.
const CHANGES: usize = 10;

/// Say whether the application is up, where, and what changed in it
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork status")]
pub(crate) struct Status {}

#[derive(Default, Serialize)]
struct StatusDocument {
    exists: bool,
    state: &'static str,
    exit_code: Option<i32>,
    runtime: &'static str,
    image: Option<String>,
    branch: Option<String>,
    head: Option<String>,
    snapshots: usize,
    container: Option<String>,
    name: Option<String>,
    pid: Option<u32>,
    address: Option<String>,
    origin: Option<String>,
    since: Option<String>,
    ports: Vec<Port>,
    forwarding: Option<bool>,
    changes: Vec<Change>,
    unfinished: Vec<UnfinishedOperation>,
}

impl Status {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.read()?;
        let look = call.interrupt.or(opened.environment.status());
        let status = opened.progress.during("looking", look).await?;
        let runtime = opened.environment.runtime_name();
        let name = opened.environment.name();
        call.answer(
            || document(runtime, status.as_ref()),
            |layout| match &status {
                Some(status) => shown(name, runtime, status, layout),
                None => format!("environment {name:?} does not exist on {runtime}\n"),
            },
        )
    }
}

fn document(runtime: &'static str, status: Option<&environment::Status>) -> StatusDocument {
    let Some(status) = status else {
        return StatusDocument {
            state: "down",
            runtime,
            ..StatusDocument::default()
        };
    };
    let live = status.branch.container.as_ref();
    let document = StatusDocument {
        exists: true,
        runtime,
        image: Some(status.image.to_string()),
        branch: Some(status.branch.name.clone()),
        head: Some(status.head.id.to_string()),
        snapshots: status.snapshots,
        container: live.map(|live| live.id.to_string()),
        origin: live.map(|live| live.origin.to_string()),
        since: live.map(|live| time(live.since)),
        ports: ports(&status.branch.ports),
        unfinished: status.unfinished.iter().map(Into::into).collect(),
        ..StatusDocument::default()
    };
    match &status.live {
        LiveState::Down => StatusDocument {
            state: "down",
            ..document
        },
        LiveState::Lost => StatusDocument {
            state: "lost",
            ..document
        },
        LiveState::Present {
            container,
            changes,
            forwarding,
        } => StatusDocument {
            state: documents::state(container.state),
            exit_code: match container.state {
                ContainerState::Exited { code } => code,
                _ => None,
            },
            name: Some(container.name.clone()),
            pid: container.pid,
            address: container.address.map(|address| address.to_string()),
            forwarding: *forwarding,
            changes: changes.clone(),
            ..document
        },
    }
}

/// Whether the application runs.
pub(crate) fn is_up(status: &environment::Status) -> bool {
    match &status.live {
        LiveState::Present { container, .. } => container.state == ContainerState::Running,
        LiveState::Down | LiveState::Lost => false,
    }
}

fn shown(name: &str, runtime: &str, status: &environment::Status, layout: Layout) -> String {
    let head = match &status.head.message {
        Some(message) => format!("{} {}", status.head.id, first_line(message)),
        None => status.head.id.to_string(),
    };
    let mut shown = vec![
        ("environment", format!("{name} on {runtime}")),
        ("image", printable(&status.image.to_string())),
        ("state", state(status)),
        ("branch", status.branch.name.clone()),
        ("head", head),
        ("snapshots", status.snapshots.to_string()),
    ];
    let mut ports = text::ports(&status.branch.ports);
    if let LiveState::Present {
        changes,
        forwarding,
        ..
    } = &status.live
    {
        if *forwarding == Some(false) {
            ports.push_str(" (not served; `statefork up` serves them again)");
        }
        shown.push(("changes", changes_text(changes, status)));
    }
    shown.insert(3, ("ports", ports));
    if !status.unfinished.is_empty() {
        let operations = status.unfinished.iter();
        let which: Vec<_> = operations
            .map(|unfinished| format!("{} ({})", unfinished.operation, unfinished.kind))
            .collect();
        shown.push(("unfinished", which.join(", ")));
    }
    fields(&shown, layout)
}

fn state(status: &environment::Status) -> String {
    let since = match &status.branch.container {
        Some(live) => format!(", made {}", text::time(live.since)),
        None => String::new(),
    };
    match &status.live {
        LiveState::Down => "down".to_owned(),
        LiveState::Lost => "lost: its container was removed by somebody else".to_owned(),
        LiveState::Present { container, .. } => {
            let Container { id, state, pid, .. } = container.as_ref();
            let pid = pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
            format!("{state}: container {}{pid}{since}", id.short())
        }
    }
}

fn changes_text(changes: &[Change], status: &environment::Status) -> String {
    let number = |kind| changes.iter().filter(|change| change.kind == kind).count();
    let origin = match &status.branch.container {
        Some(live) => format!(" since {}", live.origin),
        None => String::new(),
    };
    let mut text = format!(
        "{} added, {} modified, {} deleted{origin}",
        number(ChangeKind::Added),
        number(ChangeKind::Modified),
        number(ChangeKind::Deleted),
    );
    for change in changes.iter().take(CHANGES) {
        let sign = match change.kind {
            ChangeKind::Added => '+',
            ChangeKind::Modified => '~',
            ChangeKind::Deleted => '-',
        };
        let path = printable(&change.path.display().to_string());
        text.push_str(&format!("\n{sign} {}", first_line(&path)));
    }
    if changes.len() > CHANGES {
        let more = count(changes.len() - CHANGES, "more path");
        text.push_str(&format!("\n… and {more}"));
    }
    text
}
