//! Makes the program of the tests a helper too, as the command's program is one.

use std::process::{ExitCode, exit};

/// Runs before `main`, when there is one thread yet.
extern "C" fn before_main() {
    if let Some(code) = crate::helper::main() {
        exit(i32::from(code != ExitCode::SUCCESS));
    }
}

// SAFETY: the section is an array of functions of this type, which the C library calls in the order
// in which they lie there; the standard library's, which keeps the arguments, comes earlier.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;
