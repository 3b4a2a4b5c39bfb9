//! The suite as a test program.

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use statefork_runtime::RuntimeOptions;

use crate::case::Need;
use crate::cases;
use crate::image::TestImage;
use crate::probed::Probed;
use crate::suite::{Open, Suite};

/// Daemons spend most of their time waiting.
const THREADS: usize = 4;

/// How a runtime takes part in the suite.
#[derive(Clone, Copy, Debug)]
pub struct Enrolment {
    /// Opens the runtime.
    pub open: Open,
    /// Whether it is a daemon at a socket that `open` connects to.
    pub daemon: bool,
    /// What the programs in the test image are.
    pub image: TestImage,
    /// A folder that the processes of one run share: `env!("CARGO_TARGET_TMPDIR")`.
    pub scratch: &'static str,
    /// What the runtime must be able to do here, so that a broken probe does not hide cases.
    pub expect: &'static [Need],
}

/// Runs the cases as a test program with the usual arguments. A case that needs what the runtime
/// cannot do is listed as ignored, with the reason.
///
/// ```no_run
/// use std::process::ExitCode;
/// use std::sync::Arc;
///
/// use statefork_conformance::{Enrolment, FakeRuntime, Need, TestImage};
///
/// fn main() -> ExitCode {
///     statefork_conformance::run(Enrolment {
///         open: |_options| Ok(Arc::new(FakeRuntime::new())),
///         daemon: false,
///         image: TestImage::Vocabulary,
///         scratch: "/var/tmp",
///         expect: &[Need::Pause],
///     })
/// }
/// ```
pub fn run(enrolment: Enrolment) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    match run_with(&enrolment, &arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: failed to run the conformance suite: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_with(enrolment: &Enrolment, arguments: &Arguments) -> Result<ExitCode, String> {
    // One for all cases: a client's connections live in the async runtime that opened them.
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let suite = tokio.block_on(async {
        let runtime =
            (enrolment.open)(&RuntimeOptions::default()).map_err(|error| error.to_string())?;
        let probed = Probed::of(&*runtime, Path::new(enrolment.scratch)).await?;
        let daemon = enrolment.daemon.then_some(enrolment.open);
        Suite::open(runtime, probed.capabilities, enrolment.image, daemon).await
    })?;

    let mut trials = vec![expectation(enrolment.expect, &suite)];
    for case in cases::all() {
        let missing = case.needs.iter().find_map(|&need| suite.missing(need));
        let (handle, on) = (tokio.handle().clone(), suite.clone());
        let trial = Trial::test(format!("{}::{}", case.group, case.name), move || {
            handle.block_on(on.check(case)).map_err(Failed::from)
        });
        trials.push(match missing {
            Some(reason) => trial.with_kind(reason).with_ignored_flag(true),
            None => trial,
        });
    }
    let conclusion = libtest_mimic::run(arguments, trials);
    tokio.block_on(suite.close())?;
    Ok(conclusion.exit_code())
}

/// Fails if the runtime can do less than the enrolment says.
fn expectation(expected: &'static [Need], suite: &Suite) -> Trial {
    let missing: Vec<String> = expected
        .iter()
        .filter_map(|&need| suite.missing(need))
        .collect();
    Trial::test("enrolment::expected_capabilities", move || {
        if missing.is_empty() {
            Ok(())
        } else {
            Err(missing.join("\n").into())
        }
    })
}
