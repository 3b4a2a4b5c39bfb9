//! A chain that is longer than what a runtime can stack.

use serde_json::Value;

use crate::world::{World, text};

/// More than Docker and Podman take in all; `STATEFORK_TEST_CHAIN` asks for a longer one.
const LENGTH: usize = 130;
/// Steps that one process takes.
const AT_ONCE: usize = 20;

pub(crate) fn steps_beyond_the_limit_of_layers(world: World) {
    let length = match std::env::var("STATEFORK_TEST_CHAIN") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => LENGTH,
    };
    world.up_busybox("sleep 600");
    let mut ids = Vec::new();
    let numbers: Vec<usize> = (1..=length).collect();
    for some in numbers.chunks(AT_ONCE) {
        // Each leaves its mark, and takes away that of the tenth before it.
        let script: String = some
            .iter()
            .map(|number| {
                let former = number.saturating_sub(10);
                format!(
                    "exec -- sh -c 'echo {number} > /file; touch /mark{number}; rm -f /mark{former}'\n\
                     step\n"
                )
            })
            .collect();
        let ended = world.pipe(&["--json", "shell", "--fail-fast"], &script);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let documents = ended
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let steps: Vec<Value> = documents
            .filter(|document: &Value| document.get("id").is_some())
            .collect();
        assert_eq!(steps.len(), some.len());
        ids.extend(steps.iter().map(|step| text(&step["id"])));
    }
    // The graph is as long as it was made.
    let nodes = world.json(&["list"]);
    let nodes = nodes["snapshots"].as_array().unwrap();
    assert_eq!(nodes.len(), length + 1);
    for (pair, id) in nodes.windows(2).zip(&ids) {
        assert_eq!(pair[1]["id"], id.as_str());
        assert_eq!(pair[1]["parent"], pair[0]["id"]);
    }
    for number in [1, length / 2, length] {
        let restored = world.json(&["restore", &ids[number - 1]]);
        println!(
            "{}: restore of {number}: {} ms",
            world.runtime, restored["duration_ms"]
        );
        let last = world.sh("cat /file; ls -d /mark* | wc -l");
        assert_eq!(last, format!("{number}\n{}\n", number.min(10)));
        let oldest = number.saturating_sub(9).max(1);
        world.sh(&format!(
            "for i in $(seq {oldest} {number}); do test -e /mark$i || exit 1; done"
        ));
    }
}
