//! The command line of StateFork.
fn main() {}
