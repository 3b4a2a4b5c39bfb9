//! The fake passes its own suite.

use std::process::ExitCode;
use std::sync::Arc;

use statefork_conformance::{Enrolment, FakeRuntime, Need, TestImage};

fn main() -> ExitCode {
    statefork_conformance::run(Enrolment {
        open: |_options| Ok(Arc::new(FakeRuntime::new())),
        daemon: false,
        image: TestImage::Vocabulary,
        scratch: env!("CARGO_TARGET_TMPDIR"),
        expect: &[Need::Pause],
    })
}
