//! `shell`: the arguments of the interactive shell, which lives in a module of its own.

use clap::Args;

/// The interactive shell; from a pipe, one command a line
#[derive(Debug, Default, Args)]
#[command(after_help = "Example:\n  printf 'snapshot\\nlist\\n' | statefork shell --fail-fast")]
pub(crate) struct Shell {
    /// From a pipe: stop at the first line that fails
    #[arg(long)]
    pub(crate) fail_fast: bool,
}
