//! `doctor`: which runtimes work here.

use std::error::Error;

use clap::Args;
use serde::Serialize;
use statefork_core::{Examined, examine};
use statefork_runtime::{Capabilities, RuntimeError, Support};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::hints;
use crate::progress::Progress;
use crate::runtimes::{self, Factory};
use crate::text::{Layout, printable};

/// Find out which runtimes work here and what they can do, each by doing it
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork doctor")]
pub(crate) struct Doctor {}

#[derive(Serialize)]
struct DoctorDocument {
    runtimes: Vec<Examination>,
}

#[derive(Serialize)]
struct Examination {
    name: &'static str,
    available: bool,
    version: Option<String>,
    endpoint: Option<String>,
    capabilities: Option<CapabilitiesDocument>,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct CapabilitiesDocument {
    filesystem: bool,
    pause: bool,
    limits: bool,
    build: bool,
    reachable: bool,
    publish: bool,
    programs: bool,
    init: bool,
    layer_limit: Option<u32>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
    mend: Option<String>,
}

impl Doctor {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let progress = Progress::new(call.session.output, false);
        let mut document = DoctorDocument {
            runtimes: Vec::new(),
        };
        for factory in &runtimes::ALL {
            let work = examine_one(call, factory);
            let during = format!("examining {}", factory.name);
            document
                .runtimes
                .push(progress.during(&during, work).await?);
            // Not amid an examination, which would leave what it had made.
            call.interrupt.check()?;
        }
        call.answer(|| &document, |layout| shown(&document, layout))
    }
}

async fn examine_one(call: &Call<'_>, factory: &Factory) -> Result<Examination> {
    let options = call.session.runtime_options(factory)?;
    let examined = match (factory.open)(&options) {
        Ok(runtime) => examine(call.session.home()?.as_ref(), runtime.as_ref()).await?,
        Err(error) => Examined::Unavailable(error),
    };
    Ok(match examined {
        Examined::Unavailable(error) => Examination {
            name: factory.name,
            available: false,
            version: None,
            endpoint: None,
            capabilities: None,
            checks: vec![Check {
                name: "answers",
                ok: false,
                detail: chain(&error),
                mend: hints::hint(&Failure::Runtime(error)),
            }],
        },
        Examined::Available {
            identity,
            capabilities,
        } => Examination {
            name: factory.name,
            available: true,
            checks: checks(&capabilities, &identity.endpoint),
            version: Some(identity.version),
            endpoint: Some(identity.endpoint),
            capabilities: Some(capabilities.as_ref().into()),
        },
    })
}

impl From<&Capabilities> for CapabilitiesDocument {
    fn from(capabilities: &Capabilities) -> Self {
        Self {
            filesystem: capabilities.filesystem.is_yes(),
            pause: capabilities.pause.is_yes(),
            limits: capabilities.limits.is_yes(),
            build: capabilities.build.is_yes(),
            reachable: capabilities.reachable.is_yes(),
            publish: capabilities.publish.is_yes(),
            programs: capabilities.programs.is_yes(),
            init: capabilities.init.is_yes(),
            layer_limit: capabilities.layer_limit,
        }
    }
}

fn checks(capabilities: &Capabilities, endpoint: &str) -> Vec<Check> {
    let check = |name, support: &Support, detail: &str| match support {
        Support::Yes => Check {
            name,
            ok: true,
            detail: detail.to_owned(),
            mend: None,
        },
        Support::No { reason, mend } => Check {
            name,
            ok: false,
            detail: reason.clone(),
            mend: mend.clone(),
        },
    };
    let mut checks = vec![
        check("answers", &Support::Yes, endpoint),
        check(
            "filesystem",
            &capabilities.filesystem,
            "files are captured and come back",
        ),
        check("pause", &capabilities.pause, "containers can be frozen"),
        check(
            "limits",
            &capabilities.limits,
            "limits of memory and processors take effect",
        ),
        check("build", &capabilities.build, "images can be built"),
        check(
            "reachable",
            &capabilities.reachable,
            "the host reaches a container's own address",
        ),
        check(
            "programs",
            &capabilities.programs,
            "programs run in isolation, with a network",
        ),
        check(
            "init",
            &capabilities.init,
            "a process 1 of the runtime's own can be above them",
        ),
    ];
    // Nobody needs it where a container can be reached itself.
    if !capabilities.reachable.is_yes() {
        checks.push(check(
            "publish",
            &capabilities.publish,
            "ports are published on this machine",
        ));
    }
    checks
}

fn chain(error: &RuntimeError) -> String {
    let mut text = format!("failed to {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn shown(document: &DoctorDocument, layout: Layout) -> String {
    let mut text = String::new();
    for examination in &document.runtimes {
        let state = match &examination.version {
            Some(version) => format!("{} {version}", examination.name),
            None => format!("{}: not available", examination.name),
        };
        text.push_str(&layout.style.heading(&state));
        text.push('\n');
        for check in &examination.checks {
            let verdict = match check.ok {
                true => "ok  ".to_owned(),
                false => layout.style.error("FAIL"),
            };
            let detail = printable(&check.detail);
            text.push_str(&format!("  {verdict}  {:<10}  {detail}\n", check.name));
            if let Some(mend) = &check.mend {
                text.push_str(&format!("      {} {mend}\n", layout.style.hint("mend:")));
            }
        }
        if let Some(limit) = examination
            .capabilities
            .as_ref()
            .and_then(|capabilities| capabilities.layer_limit)
        {
            text.push_str(&format!("        at most {limit} layers in an image\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::list::tests::PLAIN;
    use super::*;

    fn capabilities() -> Capabilities {
        Capabilities {
            filesystem: Support::Yes,
            pause: Support::No {
                reason: "the freezer is missing".to_owned(),
                mend: Some("mount cgroup2".to_owned()),
            },
            limits: Support::no("no memory controller"),
            build: Support::Yes,
            reachable: Support::Yes,
            publish: Support::Yes,
            programs: Support::Yes,
            init: Support::Yes,
            layer_limit: Some(125),
        }
    }

    #[test]
    fn each_failure_comes_with_what_mends_it() {
        let capabilities = capabilities();
        let document = DoctorDocument {
            runtimes: vec![Examination {
                name: "fake",
                available: true,
                version: Some("1.2".to_owned()),
                endpoint: Some("unix:///run/fake.sock".to_owned()),
                checks: checks(&capabilities, "unix:///run/fake.sock"),
                capabilities: Some((&capabilities).into()),
            }],
        };
        insta::assert_snapshot!(shown(&document, PLAIN), @r#"
        fake 1.2
          ok    answers     unix:///run/fake.sock
          ok    filesystem  files are captured and come back
          FAIL  pause       the freezer is missing
              mend: mount cgroup2
          FAIL  limits      no memory controller
          ok    build       images can be built
          ok    reachable   the host reaches a container's own address
          ok    programs    programs run in isolation, with a network
          ok    init        a process 1 of the runtime's own can be above them
                at most 125 layers in an image
        "#);
    }
}
