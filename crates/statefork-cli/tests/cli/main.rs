//! What the binary does without a daemon: usage, configuration, errors, documents, the shell.

mod graph;
mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::world::{RUNTIMES, World, ended, json};

/// A user without rights (the kernel's overflow uid).
const NOBODY: u32 = 65534;

#[test]
fn wrong_usage_exits_2_and_says_what_was_meant() {
    let world = World::new();
    for (args, said) in [
        (&["lst"][..], "did you mean `list`?"),
        (&["list", "--json"], "global options stand before"),
        (&["snapshot", "--mesage", "x"], "did you mean `--message`?"),
        (&["restore"], "REV"),
        (&["exec"], "CMD"),
        (&["-q", "-v", "list"], "cannot be used with"),
        (&["up", "image", "--build", "."], "cannot be used with"),
        (&["up", "image", "-p", "x:80"], "port"),
        (&["up", "image", "--memory", "much"], "size \"much\""),
        (
            &["up", "image", "--network", "hots"],
            "bridge, none or host",
        ),
        (&["-r", "dokcer", "list"], "docker, podman"),
        (&["-e", "beef", "list"], "id of a snapshot"),
        (&["exec", "-t", "--", "sh"], "terminal"),
        (&["--json", "exec", "-t", "--", "sh"], "terminal"),
        (&["--json", "completions", "bash"], "exclude each other"),
        (&["--json", "cp", ":/data", "-"], "exclude each other"),
        (&["cp", "one", "two"], "exactly one"),
        (&["cp", "one", "main:"], "names no path"),
        (&["completions", "cmd.exe"], "bash"),
        (&["-b", "beef", "list"], "id of a snapshot"),
        (&["tag", "-d"], "NAME"),
        (&["tag", "-d", "v1", "HEAD"], "cannot be used with"),
        (&["snapshot", "--label", "ticket"], "KEY=VALUE"),
        (&["list", "--filter", "size=3"], "label=KEY"),
        (&["list", "--filter", "since=soon"], "a time is needed"),
        (&["branch", "rm"], "NAME|GLOB"),
        (&["brnch"], "did you mean `branch`?"),
        (&["rm"], "REV"),
        (&["try"], "CMD"),
        (&["fork", "-n", "many"], "invalid"),
        (&["fork", "-p", "9001-9000:80"], "range"),
        (&["fork", "--ttl", "soon"], "duration"),
    ] {
        let ended = world.run(args);
        assert_eq!(ended.code, 2, "{args:?}: {}", ended.stderr);
        assert!(
            ended.stderr.starts_with("error: failed to "),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains(said), "{args:?}: {}", ended.stderr);
    }
    assert!(!world.path("home").exists(), "a home was made for nothing");
}

#[test]
fn help_and_version_are_no_errors() {
    let world = World::new();
    let version = world.run(&["--version"]);
    assert_eq!(version.code, 0);
    assert!(
        version.stdout.starts_with("statefork "),
        "{}",
        version.stdout
    );
    for args in [&["--help"][..], &["help"], &["help", "up"], &["up", "-h"]] {
        let help = world.run(args);
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{args:?}");
        assert!(help.stdout.contains("Example"), "{}", help.stdout);
    }
}

#[test]
fn an_error_has_a_document() {
    let world = World::new();
    let ended = world.run(&["--json", "snapshot"]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    let document = json(&ended.stdout);
    assert_eq!(document["schema"], 1);
    assert_eq!(document["environment"], "default");
    let error = &document["error"];
    assert_eq!(error["kind"], "not_up");
    assert_eq!(error["message"], "failed to take a snapshot");
    assert_eq!(error["exit_code"], 3);
    assert!(error["causes"][0].as_str().unwrap().contains("not up"));
    assert!(error["hint"].as_str().unwrap().contains("statefork up"));
    let usage = world.run(&["--json", "lst"]);
    assert_eq!(json(&usage.stdout)["error"]["kind"], "usage");
    assert_eq!(json(&usage.stdout)["environment"], Value::Null);
}

#[test]
fn an_empty_home_has_nothing_to_list() {
    let world = World::new();
    let ended = world.run(&["list"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""));
    assert!(ended.stderr.contains("up IMAGE"), "{}", ended.stderr);
    for (command, key) in [
        ("list", "snapshots"),
        ("tree", "snapshots"),
        ("tag", "tags"),
        ("branch", "branches"),
        ("history", "operations"),
        ("stats", "stats"),
    ] {
        let ended = world.run(&["--json", command]);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        assert_eq!(json(&ended.stdout)[key], Value::Array(Vec::new()));
    }
    let status = world.run(&["--json", "status"]);
    assert_eq!(json(&status.stdout)["state"], "down");
    assert_eq!(json(&status.stdout)["exists"], false);
    world.fails(3, &["show", "HEAD"]);
    world.fails(3, &["restore", "base"]);
    world.fails(3, &["down"]);
    world.fails(125, &["exec", "--", "true"]);
    world.fails(125, &["try", "--", "true"]);
    for missing in [
        &["start"][..],
        &["stop"],
        &["rm", "HEAD"],
        &["tag", "v1"],
        &["tag", "-d", "v1"],
        &["switch", "main"],
        &["branch", "rm", "other"],
        &["branch", "rename", "one", "two"],
        &["branch", "promote", "other"],
    ] {
        world.fails(3, missing);
    }
    world.fails(3, &["logs"]);
    world.fails(2, &["up"]);
}

#[test]
fn a_configuration_is_checked_with_its_place() {
    let world = World::new();
    world.write("good.yaml", "image: app:1\nports: ['8080:80']\n");
    let good = world.run(&["config", "check", "good.yaml"]);
    assert_eq!(good.code, 0, "{}", good.stderr);
    let document = world.run(&["--json", "config", "check", "good.yaml"]);
    assert_eq!(json(&document.stdout)["valid"], true);
    assert_eq!(json(&document.stdout)["environment"], Value::Null);
    world.write("bad.yaml", "image: app:1\nprots: ['8080:80']\n");
    let error = world.fails(7, &["config", "check", "bad.yaml"]);
    assert!(
        error.contains("bad.yaml:2:1") && error.contains("\"ports\""),
        "{error}"
    );
    // What is checked is that file, not the one that would be used.
    world.write("statefork.yaml", "prots: []\n");
    assert_eq!(world.run(&["config", "check", "good.yaml"]).code, 0);
    world.fails(7, &["list"]);
    world.fails(7, &["config", "check", "absent.yaml"]);
    world.write("statefork.yaml", "runtime: dokcer\n");
    let error = world.fails(7, &["list"]);
    assert!(error.contains("statefork.yaml:1:"), "{error}");
    world.configure("");
    let ended = ended(
        world.command(&["list"]).env("STATEFORK_RUNTIME", "dokcer"),
        "",
    );
    assert_eq!(ended.code, 7, "{}", ended.stderr);
}

#[test]
fn a_configuration_that_others_can_write_is_refused() {
    let world = World::new();
    let file = world.path("statefork.yaml");
    fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
    let error = world.fails(7, &["list"]);
    assert!(error.contains("chmod go-w"), "{error}");
}

#[test]
fn a_home_that_others_can_write_is_refused() {
    let world = World::new();
    let home = world.path("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
    let error = world.fails(1, &["list"]);
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn the_configuration_is_shown_with_its_origins() {
    let world = World::new();
    world.configure("image: app:1\nenv: {TOKEN: s3cret}\n");
    let ended = world.run(&["--json", "-e", "shop", "config", "show"]);
    let document = json(&ended.stdout);
    assert_eq!(document["environment"], "shop");
    let value = |key: &str| {
        let values = document["values"].as_array().unwrap();
        values.iter().find(|value| value["key"] == key).unwrap()
    };
    assert_eq!(value("environment")["origin"]["flag"], "--environment");
    assert_eq!(value("home")["origin"]["variable"], "STATEFORK_HOME");
    assert_eq!(value("branch")["value"], Value::Null);
    assert_eq!(value("image")["origin"]["line"], 1);
    assert_eq!(value("lock_timeout")["origin"]["from"], "default");
    assert!(!ended.stdout.contains("s3cret"), "{}", ended.stdout);
    let text = world.run(&["config", "show"]);
    assert!(text.stdout.contains("env.TOKEN"), "{}", text.stdout);
    assert!(!text.stdout.contains("s3cret"), "{}", text.stdout);
}

#[test]
fn a_daemon_that_does_not_answer_exits_5() {
    let world = World::new();
    for runtime in RUNTIMES {
        let error = world.fails(5, &["-r", runtime, "up", "image"]);
        assert!(error.contains("nobody.sock"), "{error}");
        assert!(error.contains(&format!("hint: start {runtime}")), "{error}");
        // A socket that nobody listens at any more.
        drop(UnixListener::bind(world.path("nobody.sock")).unwrap());
        let ended = world.run(&["--json", "-r", runtime, "up", "image"]);
        let error = &json(&ended.stdout)["error"];
        assert_eq!(error["kind"], "runtime_unreachable");
        fs::remove_file(world.path("nobody.sock")).unwrap();
    }
    let doctor = world.run(&["--json", "doctor"]);
    assert_eq!(doctor.code, 0, "{}", doctor.stderr);
    let document = json(&doctor.stdout);
    let runtimes = document["runtimes"].as_array().unwrap();
    // Native needs no daemon.
    assert_eq!(runtimes.len(), RUNTIMES.len() + 1);
    let named = |name: &str| runtimes.iter().find(|runtime| runtime["name"] == name);
    for runtime in RUNTIMES.map(|name| named(name).unwrap()) {
        assert_eq!(runtime["available"], false);
        assert_eq!(runtime["checks"][0]["ok"], false);
        assert!(runtime["checks"][0]["mend"].is_string());
    }
}

#[test]
fn a_socket_without_permission_exits_5() {
    let world = World::new();
    let _listener = UnixListener::bind(world.path("nobody.sock")).unwrap();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&world.path("nobody.sock"), 0o000);
    for runtime in RUNTIMES {
        let args = ["-r", runtime, "up", "image"];
        let ended = match rustix::process::geteuid().is_root() {
            false => world.run(&args),
            // Nothing is closed to root, so it is asked for by somebody else.
            true => {
                let program = world.path("statefork");
                // By a process of its own: a descriptor that writes it, inherited by what another
                // test starts at this moment, would keep it from being run.
                let copied = Command::new("cp")
                    .args([Path::new(env!("CARGO_BIN_EXE_statefork")), &program])
                    .status();
                assert!(copied.unwrap().success());
                mode(world.folder.path(), 0o755);
                fs::create_dir_all(world.path("home")).unwrap();
                mode(&world.path("home"), 0o700);
                std::os::unix::fs::chown(world.path("home"), Some(NOBODY), Some(NOBODY)).unwrap();
                let mut command = world.command_of(&program, &args);
                ended(command.uid(NOBODY).gid(NOBODY), "")
            }
        };
        assert_eq!(ended.code, 5, "{}", ended.stderr);
        assert!(
            ended.stderr.contains("permission denied") && ended.stderr.contains("hint:"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn only_tcp_ports_can_be_published() {
    let world = World::new();
    let error = world.fails(4, &["up", "image", "-p", "53:53/udp"]);
    assert!(error.contains("only TCP"), "{error}");
}

#[test]
fn no_value_of_an_environment_variable_is_told() {
    let world = World::new();
    world.write("app.env", "FROM_FILE=s3cret-1\n");
    let mut command = world.command(&[
        "-vvv",
        "--json",
        "up",
        "image",
        "--env",
        "GIVEN=s3cret-2",
        "--env",
        "TAKEN",
        "--env-file",
        "app.env",
    ]);
    let ended = ended(command.env("TAKEN", "s3cret-3"), "");
    assert_eq!(ended.code, 5, "{}", ended.stderr);
    assert!(ended.stderr.contains("DEBUG"), "{}", ended.stderr);
    let all = ended.stdout + &ended.stderr;
    assert!(!all.contains("s3cret"), "{all}");
}

#[test]
fn a_script_goes_on_after_a_failed_line() {
    let world = World::new();
    let script = "# a comment\n\nnonsense\nlist 'open\nhelp restore\nlist\nexit\nlist\n";
    let ended = world.pipe(&["shell"], script);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("up IMAGE"), "{}", ended.stderr);
    assert!(ended.stderr.contains("'nonsense'"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("a quote is not closed"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("go on running"), "{}", ended.stderr);
    assert!(ended.stdout.contains("Usage: restore"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("StateFork >"), "{}", ended.stdout);
    // Without a command it is the same shell, and the end of its input is no failure.
    assert_eq!(world.pipe(&[], "list\nquit\n").code, 0);
    assert_eq!(world.pipe(&[], "list").code, 0);
}

#[test]
fn a_script_stops_at_the_first_failed_line_if_asked() {
    let world = World::new();
    let script = "list\nnonsense\nlist\n";
    let ended = world.pipe(&["--json", "shell", "--fail-fast"], script);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 2, "{}", ended.stdout);
}

#[test]
fn a_script_has_one_document_a_line() {
    let world = World::new();
    let script = "list\nnonsense\nsnapshot\nhelp list\n\nexec -- true\nhistory\nexit\n";
    let ended = world.pipe(&["--json", "shell"], script);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let documents: Vec<_> = ended.stdout.lines().map(json).collect();
    assert_eq!(documents.len(), 6, "{}", ended.stdout);
    assert_eq!(documents[1]["error"]["kind"], "usage");
    assert_eq!(documents[2]["error"]["exit_code"], 3);
    assert!(documents[3]["help"].is_string());
    assert_eq!(documents[4]["error"]["exit_code"], 125);
    assert!(documents.iter().all(|document| document["schema"] == 1));
}

#[test]
fn a_shell_whose_application_does_not_come_up_goes_on() {
    let world = World::new();
    world.configure("image: app:1\n");
    let ended = world.pipe(&["--json", "shell"], "list\n");
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("nobody.sock"), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let world = World::new();
    for args in [
        &["config", "show"][..],
        &["--json", "snapshot"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = world.command(args);
        let ended = ended(command.stdout(writer), "");
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        assert!(
            !ended.stderr.contains("standard output"),
            "{}",
            ended.stderr
        );
        assert!(matches!(ended.code, 0 | 3), "{}", ended.code);
    }
}

#[test]
fn every_shell_gets_its_script() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = world.run(&["completions", shell]);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{shell}");
        assert!(ended.stdout.contains("restore"), "{shell}");
        assert!(ended.stdout.contains("fail-fast"), "{shell}");
        assert!(!ended.stdout.contains("thaw"), "{shell}");
    }
}

#[test]
fn workers_are_not_for_people() {
    let world = World::new();
    let help = world.run(&["--help"]).stdout;
    assert!(
        !help.contains("thaw") && !help.contains("recover"),
        "{help}"
    );
    // Nothing has begun here, so nothing is to be recovered.
    assert_eq!(world.run(&["-b", "main", "recover"]).code, 0);
    // Nobody answers who could thaw anything.
    world.fails(5, &["thaw", "0123456789ab"]);
    assert_eq!(world.pipe(&["shell"], "recover\n").code, 1);
}
