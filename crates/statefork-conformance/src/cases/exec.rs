//! Running a further command.

use std::time::Duration;

use statefork_runtime::{
    ContainerId, ContainerSpec, EnvVar, ErrorKind, ExecExit, ExecRequest, TerminalSize,
};

use crate::case::{Case, Outcome, cases, check, check_eq, fails_with};
use crate::fixture::{Fixture, as_text, collect};

pub(super) const CASES: &[Case] = cases![Exec:
    output_and_errors_come_apart,
    the_exit_code_is_the_commands,
    an_absent_program_is_not_found,
    a_file_that_is_no_program_is_not_executable,
    input_is_read_to_its_end,
    without_input_it_ends_at_once,
    binary_data_passes_unchanged,
    long_output_is_complete,
    a_terminal_has_its_size,
    a_terminal_learns_a_new_size,
    a_terminals_output_is_one_stream,
    user_directory_and_variables_are_set,
    the_containers_settings_hold_unless_given,
    an_unknown_user_or_directory_is_refused,
    a_paused_container_takes_no_command [Pause],
    an_exited_container_takes_no_command,
    a_command_ends_with_its_container,
    commands_do_not_mix,
];

async fn output_and_errors_come_apart(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let ran = f
        .run(&container, "echo one ; warn two ; echo three")
        .await?;
    check_eq!(ran.out(), "one\nthree", "standard output");
    check_eq!(ran.err(), "two", "standard error");
    Ok(())
}

async fn the_exit_code_is_the_commands(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    for code in [0, 1, 42, 255] {
        let ran = f.run(&container, &format!("exit {code}")).await?;
        check_eq!(ran.exit, ExecExit::Code(code), "exit {code}");
    }
    Ok(())
}

async fn refused(f: &Fixture, program: &str, exit: ExecExit) -> Outcome {
    let container = f.launch("serve").await?;
    let request = ExecRequest {
        argv: vec![program.into(), "argument".into()],
        ..ExecRequest::default()
    };
    let ran = f.run_request(&container, &request, None).await?;
    check_eq!(ran.exit, exit, "the end of {program}");
    Ok(())
}

async fn an_absent_program_is_not_found(f: &Fixture) -> Outcome {
    refused(f, "no-such-program", ExecExit::NotFound).await
}

async fn a_file_that_is_no_program_is_not_executable(f: &Fixture) -> Outcome {
    refused(f, "/etc/motd", ExecExit::NotExecutable).await
}

async fn copied(f: &Fixture, input: Option<&[u8]>) -> Outcome<Vec<u8>> {
    let container = f.launch("serve").await?;
    let ran = f
        .run_as(&container, "cat", ExecRequest::default(), input)
        .await?;
    check_eq!(ran.exit, ExecExit::Code(0), "the end of cat");
    Ok(ran.stdout)
}

async fn input_is_read_to_its_end(f: &Fixture) -> Outcome {
    let out = copied(f, Some(b"first\nlast")).await?;
    check_eq!(as_text(&out), "first\nlast", "the copy");
    Ok(())
}

async fn without_input_it_ends_at_once(f: &Fixture) -> Outcome {
    check_eq!(copied(f, None).await?, b"", "the copy");
    Ok(())
}

async fn binary_data_passes_unchanged(f: &Fixture) -> Outcome {
    // More than pipes and sockets hold: it has to be read while it is written.
    let input = (0..=255).collect::<Vec<u8>>().repeat(4096);
    let out = copied(f, Some(&input)).await?;
    check!(out == input, "{} of {} bytes", out.len(), input.len());
    Ok(())
}

async fn long_output_is_complete(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let out = f.told(&container, "seq 1 15000").await?;
    let numbers = out.lines().map(str::parse);
    check!(
        numbers.eq((1..=15_000).map(Ok::<u32, _>)),
        "{} lines of 15000, or not in order",
        out.lines().count()
    );
    Ok(())
}

fn on_terminal() -> ExecRequest {
    ExecRequest {
        terminal: Some(TerminalSize {
            rows: 31,
            columns: 97,
        }),
        ..ExecRequest::default()
    }
}

async fn a_terminal_has_its_size(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    // A moment, since daemons tell the size after the start.
    let ran = f
        .run_as(&container, "sleep 0.5 ; stty size", on_terminal(), None)
        .await?;
    check_eq!(ran.out(), "31 97", "stty says");
    Ok(())
}

async fn a_terminal_learns_a_new_size(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let request = ExecRequest {
        argv: f.argv("sleep 1 ; stty size"),
        ..on_terminal()
    };
    let exec = f.runtime().exec(&container.id, &request).await?;
    let size = TerminalSize {
        rows: 50,
        columns: 132,
    };
    exec.control.resize(size).await?;
    let (out, _) = collect(exec.output).await?;
    check_eq!(as_text(&out), "50 132", "stty says");
    Ok(())
}

async fn a_terminals_output_is_one_stream(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let ran = f
        .run_as(&container, "echo one ; warn two", on_terminal(), None)
        .await?;
    let out = ran.out();
    check_eq!(out.lines().collect::<Vec<_>>(), ["one", "two"], "output");
    check_eq!(ran.err(), "", "standard error");
    Ok(())
}

async fn user_directory_and_variables_are_set(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let settings = ExecRequest {
        env: vec![EnvVar {
            name: "ADDED".into(),
            value: "a b".into(),
        }],
        user: Some("nobody".into()),
        workdir: Some("/etc".into()),
        ..ExecRequest::default()
    };
    let line = "printenv ADDED ; printenv BASE ; id -u ; pwd";
    let ran = f.run_as(&container, line, settings, None).await?;
    check_eq!(ran.out(), "a b\nbase\n65534\n/etc", "it said");
    Ok(())
}

async fn the_containers_settings_hold_unless_given(f: &Fixture) -> Outcome {
    let spec = ContainerSpec {
        user: Some("1000".into()),
        workdir: Some("/etc".into()),
        ..f.spec("serve")
    };
    let container = f.launch_from(&f.base(), spec).await?;
    let out = f.told(&container, "id -u ; pwd").await?;
    check_eq!(out, "1000\n/etc", "it said");
    Ok(())
}

async fn an_unknown_user_or_directory_is_refused(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let unknown_user = ExecRequest {
        argv: f.argv("true"),
        user: Some("stranger".into()),
        ..ExecRequest::default()
    };
    let unknown_directory = ExecRequest {
        argv: f.argv("true"),
        workdir: Some("/no/such/folder".into()),
        ..ExecRequest::default()
    };
    for (what, request) in [("user", unknown_user), ("directory", unknown_directory)] {
        let refused = f.runtime().exec(&container.id, &request).await;
        fails_with(what, refused, &[ErrorKind::Invalid])?;
    }
    Ok(())
}

async fn refused_in(f: &Fixture, container: &ContainerId) -> Outcome {
    let request = ExecRequest {
        argv: f.argv("true"),
        ..ExecRequest::default()
    };
    let refused = f.runtime().exec(container, &request).await;
    fails_with("the command", refused, &[ErrorKind::WrongState])
}

async fn a_paused_container_takes_no_command(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.runtime().pause(&container.id).await?;
    refused_in(f, &container.id).await
}

async fn an_exited_container_takes_no_command(f: &Fixture) -> Outcome {
    let container = f.launch("true").await?;
    f.exit(&container).await?;
    refused_in(f, &container.id).await
}

async fn a_command_ends_with_its_container(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let request = ExecRequest {
        argv: f.argv("sleep 1000"),
        ..ExecRequest::default()
    };
    let exec = f.runtime().exec(&container.id, &request).await?;
    f.runtime().kill(&container.id).await?;
    let ended = async {
        collect(exec.output).await?;
        exec.control.wait().await
    };
    let limit = Duration::from_secs(15);
    let ended = tokio::time::timeout(limit, ended).await;
    check!(
        matches!(ended, Ok(Ok(ExecExit::Code(code))) if code != 0),
        "it ended with {ended:?}"
    );
    Ok(())
}

async fn commands_do_not_mix(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let lines: Vec<String> = (1..=5)
        .map(|n| format!("seq {n}000 {n}299 ; exit {n}"))
        .collect();
    let runs = lines.iter().map(|line| f.run(&container, line));
    for (ran, n) in futures_util::future::join_all(runs)
        .await
        .into_iter()
        .zip(1..)
    {
        let ran = ran?;
        check_eq!(ran.exit, ExecExit::Code(n), "the end of command {n}");
        let expected = (n * 1000..=n * 1000 + 299).map(|number| number.to_string());
        check!(ran.out().lines().eq(expected), "command {n} is mixed");
    }
    Ok(())
}
