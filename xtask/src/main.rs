//! Set-up, image, demonstration, tests and house rules of the workspace.

fn main() {}
