//! A shim as its own process, and everything that a command does with it.
//!
//! This program is also the helper program that the tests start, and a shim of another version.

mod application;
mod expiry;
mod fixture;
mod forwarding;
mod holding;
mod lifecycle;
mod load;
mod other_version;
mod ports;
mod process;
mod work;

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Resource, Rlimit};

/// No test takes longer.
const LIMIT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [flag, ..] if flag == "--dir" => return statefork_shim::main(),
        [flag, version, dir] if flag == other_version::FLAG => {
            other_version::serve(version, dir).expect("it serves");
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    raise_descriptor_limit();
    let arguments = Arguments::from_args();
    let tests = [
        forwarding::tests(),
        holding::tests(),
        load::tests(),
        ports::tests(),
        lifecycle::tests(),
        process::tests(),
        work::tests(),
        expiry::tests(),
    ];
    libtest_mimic::run(&arguments, tests.into_iter().flatten().collect()).exit_code()
}

/// A test that fails by panicking, or by taking too long.
fn test<F: Future<Output = ()>>(name: &str, run: impl Fn() -> F + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failed::from)?;
        let outcome = runtime.block_on(async { tokio::time::timeout(LIMIT, run()).await });
        runtime.shutdown_background();
        outcome.map_err(|_| Failed::from(format!("it takes longer than {LIMIT:?}")))
    })
}

/// A test holds more connections than some systems allow a process by default.
fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    rustix::process::setrlimit(Resource::Nofile, raised).expect("up to the maximum is allowed");
}
