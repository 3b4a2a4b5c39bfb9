//! A process 1 above the program.

use std::time::Duration;

use statefork_runtime::{Container, ContainerSpec, ErrorKind};

use crate::case::{Case, Failure, Outcome, cases, check, check_eq};
use crate::fixture::Fixture;

pub(super) const CASES: &[Case] = cases![Lifecycle:
    the_program_is_not_process_1 [Init, Programs],
    process_1_ends_as_the_program_does [Init, Programs],
    a_program_that_cannot_be_executed_does_not_seem_to_run [Init, Programs],
    an_orphan_is_reaped [Init, Programs],
    the_program_hears_a_polite_stop [Init, Programs],
];

/// A container whose program is a script, with a process 1 above it.
async fn above(f: &Fixture, script: &str) -> Outcome<Container> {
    let spec = ContainerSpec {
        entrypoint: Some(f.shell(script)),
        command: Some(Vec::new()),
        init: true,
        ..ContainerSpec::default()
    };
    Ok(f.launch_from(&f.base(), spec).await?)
}

async fn the_program_is_not_process_1(f: &Fixture) -> Outcome {
    let container = above(f, "test $$ -ne 1 && echo below; exec sleep 600").await?;
    f.until_said(&container, "below").await?;
    let adoption = f.runtime().adopt(&container.id).await?;
    let adoption = adoption.ok_or_else(|| Failure::new("it is not there"))?;
    check!(adoption.spec.init, "its settings are {:?}", adoption.spec);
    Ok(())
}

async fn process_1_ends_as_the_program_does(f: &Fixture) -> Outcome {
    let container = above(f, "sleep 600 & exit 7").await?;
    check_eq!(f.exit(&container).await?, Some(7), "the exit code");
    let container = above(f, "kill -KILL $$").await?;
    check_eq!(f.exit(&container).await?, Some(137), "after a signal");
    Ok(())
}

async fn a_program_that_cannot_be_executed_does_not_seem_to_run(f: &Fixture) -> Outcome {
    let spec = ContainerSpec {
        entrypoint: Some(vec!["/no/such/program".into()]),
        command: Some(Vec::new()),
        init: true,
        ..ContainerSpec::default()
    };
    match f.launch_from(&f.base(), spec).await {
        // Its process 1 finds out, and ends with a code of its own for that.
        Ok(container) => {
            let code = f.exit(&container).await?;
            check!(code.is_some_and(|code| code != 0), "it ends with {code:?}");
        }
        Err(error) => check_eq!(error.kind(), ErrorKind::StartFailed, "{error}"),
    }
    Ok(())
}

async fn an_orphan_is_reaped(f: &Fixture) -> Outcome {
    let container = above(
        f,
        "sh -c 'sleep 1 & echo $! > /orphan'; echo begun; exec sleep 600",
    )
    .await?;
    f.until_said(&container, "begun").await?;
    let wait = "for i in 1 2 3 4 5 6; do \
                test -s /orphan && ! test -e /proc/$(cat /orphan) && exec echo gone; sleep 1; done; \
                echo stays";
    let said = f.script(&container, wait).await?;
    check_eq!(said.trim(), "gone", "the orphan is");
    Ok(())
}

async fn the_program_hears_a_polite_stop(f: &Fixture) -> Outcome {
    let container = above(
        f,
        "trap 'echo heard; exit 3' TERM; echo begun; sleep 600 & wait",
    )
    .await?;
    f.until_said(&container, "begun").await?;
    f.runtime()
        .stop(&container.id, Duration::from_secs(20))
        .await?;
    check_eq!(f.exit(&container).await?, Some(3), "the exit code");
    f.until_said(&container, "heard").await
}
