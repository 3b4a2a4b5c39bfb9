//! Two forks of one snapshot share nothing that they should not, though both write everywhere at once.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::target_app::App;
use crate::world::{APP, World, ended, text, wait_for};

/// Leaves marks wherever two containers could meet.
const SHARES: &str = include_str!("apart/shares.py");

pub(crate) fn two_forks_share_nothing(world: World) {
    world.configure(&format!(
        "image: {APP}\nports: ['8000']\nmachine_id: new\nmounts: [{{type: tmpfs, target: /mem}}]\n\
         hooks: {{after_restore: 'echo ran >> /srv/hook'}}\n"
    ));
    let main = App::of(&world.json(&["up"]));
    main.set_key("whose", "main");
    let forked = world.json(&["fork", "-n", "2", "--name", "f"]);
    let apps: Vec<App> = documents(&forked["forks"]).iter().map(App::of).collect();
    let marks = ["apart-one", "apart-two"];
    let branches = ["f-1", "f-2"];
    let running = [0, 1].map(|fork| {
        let exec = ["-b", branches[fork], "exec", "--", "python3", "-c", SHARES];
        world.spawn(&[&exec[..], &[marks[fork]]].concat())
    });
    let is_there = |branch: &str, path: &str| {
        let test = ["-b", branch, "exec", "--", "test", "-e", path];
        world.run(&test).code == 0
    };
    for branch in branches {
        wait_for(Duration::from_secs(60), || is_there(branch, "/tmp/ready"));
    }
    for branch in branches {
        world.ok(&["-b", branch, "exec", "--", "touch", "/tmp/go"]);
    }
    let found = running.map(|child| {
        let ended = ended(child);
        assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
        serde_json::from_str::<Value>(&ended.stdout).unwrap()
    });
    for (found, mark) in found.iter().zip(marks) {
        let folders = found["folders"].as_object().unwrap();
        assert!(folders.len() > 8, "{folders:?}");
        for (folder, inside) in folders {
            let expected = serde_json::json!([mark, format!("mark-{mark}")]);
            assert_eq!(inside, &expected, "in {folder}");
        }
        assert_eq!(found["sysv"], mark);
        assert_eq!(found["posix"], mark);
        assert_eq!(found["processes"], serde_json::json!([mark]));
    }
    let hosts = distinct(found.iter().map(|found| text(&found["host"])));
    assert_eq!(hosts.len(), 2, "{hosts:?}");

    // What they are told of themselves, and what ran in them.
    let inside = |branch: &str, path: &str| world.ok(&["-b", branch, "exec", "--", "cat", path]);
    let ids = ["main", "f-1", "f-2"].map(|branch| inside(branch, "/etc/machine-id"));
    assert_eq!(distinct(ids.iter()).len(), 3, "{ids:?}");
    for branch in branches {
        assert_eq!(inside(branch, "/srv/hook"), "ran\n", "{branch}");
        let identity: Value = serde_json::from_str(&inside(branch, "/run/statefork.json")).unwrap();
        assert_eq!(identity["branch"], branch);
        assert_eq!(identity["snapshot"], forked["snapshot"]);
    }

    // Each answers at an address of its own, with what it has in memory.
    apps[0].set_key("whose", "one");
    apps[1].set_key("whose", "two");
    let keys = [main, apps[0], apps[1]].map(|app| app.key("whose").unwrap());
    assert_eq!(keys, ["main", "one", "two"]);
    assert!(!is_there("main", "/srv/hook"));
    for mark in marks {
        assert!(!is_there("main", &format!("/var/mark-{mark}")));
    }
}

fn documents(list: &Value) -> Vec<Value> {
    list.as_array().unwrap().clone()
}

fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> BTreeSet<T> {
    values.collect()
}
