//! Podman in the conformance suite.

use std::process::ExitCode;
use std::sync::Arc;

use statefork_conformance::{Enrolment, Need, TestImage};

fn main() -> ExitCode {
    statefork_conformance::run(Enrolment {
        open: |options| Ok(Arc::new(statefork_podman::open(options)?)),
        daemon: true,
        image: TestImage::Busybox,
        scratch: env!("CARGO_TARGET_TMPDIR"),
        expect: &[
            Need::Pause,
            Need::Limits,
            Need::Build,
            Need::Reachable,
            Need::Publish,
            Need::Programs,
            Need::Init,
        ],
    })
}
