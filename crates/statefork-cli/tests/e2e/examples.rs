//! The programs in `examples/`, as a user runs them.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::world::{Ended, World, ended};

/// Runs an example on the environment, which is up.
fn example(world: &World, name: &str, args: &[&str]) -> Ended {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let child = Command::new("python3")
        .arg(examples.join(name))
        .args(["--statefork", env!("CARGO_BIN_EXE_statefork")])
        .args(args)
        .current_dir(world.folder())
        .env("STATEFORK_HOME", world.home())
        .env("STATEFORK_RUNTIME", world.runtime)
        .env("STATEFORK_ENVIRONMENT", &world.name)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    ended(child)
}

fn tells(ended: &Ended, text: &str) {
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains(text), "{}", ended.stdout);
}

/// How often it says that it did an operation.
fn spent<'a>(ended: &'a Ended, operation: &str) -> &'a str {
    let mut lines = ended.stdout.lines();
    let rest = lines.find_map(|line| line.strip_prefix(operation));
    let count = rest.and_then(|rest| rest.split_whitespace().next());
    count.unwrap_or_else(|| panic!("no {operation} in {}", ended.stdout))
}

pub(crate) fn the_best_of_three_stays(world: World) {
    world.up_busybox("sleep 600");
    world.sh("echo begun > /state");
    let attempt = "echo $((ATTEMPT * ATTEMPT % 7)) > /tmp/answer; test $ATTEMPT != 3";
    let ended = example(&world, "best_of_n.py", &["-n", "3", "--attempt", attempt]);
    tells(&ended, "attempt 3: failed");
    tells(&ended, "best: 4, now on branch main");
    assert_eq!(world.sh("cat /state /tmp/answer"), "begun\n4\n");
    let branches = world.json(&["branch"]);
    assert_eq!(
        branches["branches"].as_array().unwrap().len(),
        1,
        "{branches}"
    );
    assert_eq!(spent(&ended, "fork"), "3");
    assert_eq!(spent(&ended, "branch promote"), "1");
    tells(&ended, "for restores and forks");
    let outside = ["-n", "1", "--score-outside", "echo $BRANCH >&2; echo 5"];
    tells(&example(&world, "best_of_n.py", &outside), "best: 5");
    let none = ["-n", "2", "--attempt", "exit 1"];
    let ended = example(&world, "best_of_n.py", &none);
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    let branches = world.json(&["branch"]);
    assert_eq!(
        branches["branches"].as_array().unwrap().len(),
        1,
        "{branches}"
    );
}

pub(crate) fn a_search_finds_its_way(world: World) {
    world.up_busybox("sleep 600");
    let found = example(&world, "depth_first.py", &[]);
    tells(&found, "actions [1, 2, 2, 2]");
    assert_eq!(spent(&found, "restore"), "11");
    assert_eq!(world.sh("cat /tmp/number"), "17\n");
    world.json(&["restore", "base"]);
    let simple = example(&world, "depth_first.py", &["--simple"]);
    tells(&simple, "actions [1, 2, 2, 2]");
    world.json(&["restore", "base"]);
    // Without a way it is back where it began.
    let ended = example(&world, "depth_first.py", &["--depth", "1"]);
    tells(&ended, "not found in 2 states");
    assert_ne!(
        world.run(&["exec", "--", "test", "-e", "/tmp/number"]).code,
        0
    );
}
