//! The command line as a whole.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::commands::{Command, shell::Shell, worker::Worker};
use crate::failure::Failure;
use crate::runtimes;

/// git for running containers: save the state of an unmodified application, break it, go back.
#[derive(Debug, Parser)]
#[command(
    name = "statefork",
    version,
    after_help = "Without a command the interactive shell starts. Global options stand before the \
                  command.\n\nExample:\n  statefork up -p 8080:80 IMAGE\n  statefork snapshot -m \
                  'before the upgrade'\n  statefork restore HEAD"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Option<TopCommand>,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Globals {
    /// The configuration file [default: ./statefork.yaml, then the user's, then the machine's]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The state directory
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// The environment to work on
    #[arg(short, long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
    #[arg(
        short,
        long,
        value_name = "RUNTIME",
        help = format!("The container runtime: {}", runtimes::listed())
    )]
    pub(crate) runtime: Option<String>,
    /// The branch to work on, HEAD included [default: the current one]
    #[arg(short, long, value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
    /// Answer with one JSON document on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// Log what is done on standard error; -vv and -vvv say more
    #[arg(short, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// No notes and no progress on standard error
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// A command of the command line.
#[derive(Debug, Subcommand)]
pub(crate) enum TopCommand {
    Shell(Shell),
    #[command(flatten)]
    Command(Command),
    #[command(flatten)]
    Worker(Worker),
}

/// A line of the shell.
#[derive(Debug, Parser)]
#[command(
    name = "",
    no_binary_name = true,
    disable_help_flag = true,
    disable_version_flag = true,
    help_template = "{subcommands}",
    override_usage = "COMMAND"
)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub(crate) command: LineCommand,
}

/// A command of the shell.
#[derive(Debug, Subcommand)]
pub(crate) enum LineCommand {
    #[command(flatten)]
    Command(Command),
    /// Leave the shell; containers go on running
    #[command(visible_alias = "quit")]
    Exit,
}

/// What reading a command line came to, other than a command.
pub(crate) enum NoCommand {
    /// Help or the version was asked for.
    Print(String),
    /// It cannot be read.
    Failure(Failure),
}

/// Reads the process's command line.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Arguments, NoCommand> {
    Arguments::try_parse_from(arguments).map_err(|error| no_command(&error, "statefork "))
}

/// Reads a line of the shell; `None` for an empty one.
pub(crate) fn parse_line(line: &str) -> Result<Option<LineCommand>, NoCommand> {
    let words = shell_words::split(line)
        .map_err(|_| NoCommand::Failure(Failure::usage("a quote is not closed")))?;
    if words.is_empty() {
        return Ok(None);
    }
    match Line::try_parse_from(words) {
        Ok(line) => Ok(Some(line.command)),
        Err(error) => Err(no_command(&error, "")),
    }
}

/// The list of the shell's commands.
pub(crate) fn line_help() -> String {
    Line::command().render_help().to_string()
}

/// The command line without what is for shims alone: what a person's own shell completes.
pub(crate) fn for_people() -> clap::Command {
    let program = Globals::augment_args(clap::Command::new("statefork"));
    let shell = Shell::augment_args(clap::Command::new("shell"));
    Command::augment_subcommands(program).subcommand(shell)
}

/// Whether the process's command line asks for JSON, also if it cannot be read otherwise.
pub(crate) fn wants_json(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .skip(1)
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "--json")
}

fn no_command(error: &clap::Error, program: &str) -> NoCommand {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            NoCommand::Print(error.render().to_string())
        }
        _ => NoCommand::Failure(Failure::Usage {
            message: message(error),
            hint: Some(hint(error, program)),
        }),
    }
}

/// The parser's own words for what is wrong, on one line.
fn message(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let paragraph = rendered.split("\n\n").next().unwrap_or_default();
    let line = one_line(paragraph);
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

fn hint(error: &clap::Error, program: &str) -> String {
    let suggested = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ]
    .into_iter()
    .find_map(|kind| match error.get(kind)? {
        ContextValue::String(name) => Some(name.clone()),
        // The likeliest is the last.
        ContextValue::Strings(names) => names.last().cloned(),
        _ => None,
    });
    if let Some(suggested) = suggested {
        return format!("did you mean `{suggested}`?");
    }
    if let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
        && is_global(argument)
        && !program.is_empty()
    {
        return format!("global options stand before the command: {program}{argument} COMMAND");
    }
    match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) if error.kind() != ErrorKind::InvalidSubcommand => {
            let usage = one_line(&usage.to_string());
            format!("usage:{}", usage.trim_start_matches("Usage:"))
        }
        _ => format!("`{program}help` shows all commands"),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_global(argument: &str) -> bool {
    let name = argument.trim_start_matches('-');
    Arguments::command().get_arguments().any(|known| {
        known.get_long() == Some(name)
            || known
                .get_short()
                .is_some_and(|short| name.chars().eq([short]))
    })
}
