//! Native in the conformance suite.
//!
//! The test program is the helper too, so that it needs no other one.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use statefork_conformance::{Enrolment, Need, TestImage};
use statefork_runtime::RuntimeOptions;

fn main() -> ExitCode {
    if let Some(code) = statefork_native::helper_main() {
        return code;
    }
    statefork_conformance::run(Enrolment {
        open: |options| {
            let options = RuntimeOptions {
                storage: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("native")),
                helper: std::env::current_exe().ok(),
                ..options.clone()
            };
            Ok(Arc::new(statefork_native::open(&options)?))
        },
        daemon: false,
        image: TestImage::Busybox,
        scratch: env!("CARGO_TARGET_TMPDIR"),
        expect: &[
            Need::Pause,
            Need::Limits,
            Need::Reachable,
            Need::Programs,
            Need::Init,
        ],
    })
}
