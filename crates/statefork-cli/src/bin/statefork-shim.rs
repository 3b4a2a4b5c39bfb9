//! The helper program `statefork-shim`: serves the ports of one live branch.

fn main() -> std::process::ExitCode {
    statefork_shim::main()
}
