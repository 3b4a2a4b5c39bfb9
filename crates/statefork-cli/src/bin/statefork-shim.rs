//! The helper program `statefork-shim`: serves the ports of one live branch, and makes the containers of
//! the embedded runtime.

fn main() -> std::process::ExitCode {
    // Before there is a second thread.
    statefork_native::helper_main().unwrap_or_else(statefork_shim::main)
}
