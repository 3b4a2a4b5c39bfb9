//! A loss of power, and the boot after it: every process of an environment of native is gone at once,
//! the kernel has no cgroup and no link of it, and what was written down is of an earlier boot, with
//! numbers that other processes have now.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::getpid;
use serde_json::{Value, json};
use statefork_runtime::ContainerId;

use crate::host::{Host, cgroups, kill, processes_of, read_json, start};
use crate::http;
use crate::target_app::App;
use crate::world::{BUSYBOX, World, text, wait_for};

/// The id of a boot that this is not.
const EARLIER: &str = "00000000-0000-4000-8000-000000000000";
/// How long a command may take to get to where it waits.
const SOON: Duration = Duration::from_secs(20);

const SERVER: &str = "mkdir -p /www; echo $$ > /www/file; test -e /stuck || touch /ready; \
                      exec httpd -f -p 8000 -h /www";
const UP: [&str; 9] = [
    "up", BUSYBOX, "-p", "8000", "--", "sh", "-c", SERVER, "httpd",
];

pub(crate) fn what_ran_is_brought_back_by_up(world: World) {
    let world = world.with_own_storage();
    let app = App::of(&world.json(&UP));
    world.sh("echo first > /file");
    let snapshot = world.snapshot();
    world.sh("echo changed > /file; echo new > /other");
    lose_power(&world);

    let status = world.json(&["status"]);
    assert_eq!(status["state"], "exited", "{status}");
    // Nobody saw it end.
    assert_eq!(status["exit_code"], Value::Null);
    assert_eq!(status["forwarding"], false);
    assert_eq!(status["pid"], Value::Null);
    assert!(http::connect(app.0).is_err());
    world.fails(125, &["exec", "--", "true"]);

    let app = App::of(&world.json(&UP));
    assert_eq!(app.get("/file").status, 200);
    assert_eq!(world.sh("cat /file /other"), "changed\nnew\n");
    world.json(&["restore", &snapshot]);
    assert_eq!(app.get("/file").status, 200);
    assert_eq!(
        world.sh("cat /file; test -e /other || echo gone"),
        "first\ngone\n"
    );
    Host::new(&world).purge();
}

/// Without `up` in between.
pub(crate) fn a_snapshot_is_restored_at_once(world: World) {
    let world = world.with_own_storage();
    let app = App::of(&world.json(&UP));
    world.sh("echo first > /file");
    let snapshot = world.snapshot();
    world.sh("echo changed > /file");
    lose_power(&world);
    // Of what has ended there is a snapshot too.
    let second = world.snapshot();
    world.json(&["restore", &snapshot]);
    assert_eq!(app.get("/file").status, 200);
    assert_eq!(world.sh("cat /file"), "first\n");
    world.json(&["restore", &second]);
    assert_eq!(world.sh("cat /file"), "changed\n");
    Host::new(&world).purge();
}

/// The old container is frozen and the new one is there when the power goes.
pub(crate) fn a_restore_that_was_cut_off_is_undone(world: World) {
    let world = world.with_own_storage();
    world.configure("readiness:\n  exec: test -e /ready\n  timeout: 60s\n");
    let app = App::of(&world.json(&UP));
    world.sh("touch /stuck; rm /ready");
    let stuck = world.snapshot();
    world.sh("rm /stuck; touch /ready; echo mine > /file");
    let before = text(&world.json(&["status"])["container"]);
    let mut command = world.spawn(&["restore", &stuck]);
    wait_for(SOON, || world.json(&["status"])["state"] == "paused");
    lose_power(&world);
    command.wait().unwrap();

    let status = world.json(&["status"]);
    assert_eq!(status["state"], "exited", "{status}");
    assert_eq!(status["forwarding"], false);
    assert_eq!(status["unfinished"][0]["kind"], "restore", "{status}");
    let up = world.run(&UP);
    assert_eq!(up.code, 0, "{}", up.stderr);
    assert!(
        up.stderr.contains("was cut off") && up.stderr.contains("it is undone now"),
        "{}",
        up.stderr
    );
    assert_eq!(app.get("/file").status, 200);
    assert_eq!(world.sh("cat /file"), "mine\n");
    let status = world.json(&["status"]);
    assert_eq!(text(&status["container"]), before);
    assert_eq!(status["unfinished"], json!([]));
    Host::new(&world).purge();
}

/// Ends all that the home has running, and takes it back to an earlier boot.
fn lose_power(world: &World) {
    let host = Host::new(world);
    // Commands, shims and what these have started, which would mend what they see dying.
    wait_for(SOON, || {
        let processes = host.processes();
        processes.iter().copied().for_each(kill);
        processes.is_empty()
    });
    let containers = world.storage().join("containers");
    for container in fs::read_dir(containers).unwrap() {
        let container = container.unwrap();
        let id = ContainerId::new(container.file_name().into_string().unwrap());
        let run = container.path().join("run.json");
        if run.exists() {
            processes_of(&run).into_iter().for_each(kill);
            // Another process has both numbers now: this one.
            let mut record = read_json(&run);
            record["boot"] = EARLIER.into();
            let (pid, start) = (std::process::id(), start(getpid()));
            for who in ["monitor", "init"] {
                record[who] = json!({"pid": pid, "start": start});
            }
            fs::write(&run, record.to_string()).unwrap();
        }
        wait_for(SOON, || {
            cgroups(&id)
                .iter()
                .all(|folder| fs::remove_dir(folder).is_ok() || !folder.exists())
        });
        let link = Path::new("/sys/class/net").join(format!("sf{}", id.short()));
        wait_for(SOON, || !link.exists());
    }
    // What commands and shims wrote down of themselves.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for folder in ["locks", "shims"] {
        age(&world.home().join(folder), boot.trim());
    }
    for (file, table, column) in [
        (world.home().join("store.sqlite"), "operations", "process"),
        (world.storage().join("books.sqlite"), "layer", "owner"),
    ] {
        let sql = format!("UPDATE {table} SET {column} = replace({column}, ?1, ?2)");
        let database = rusqlite::Connection::open(file).unwrap();
        database.execute(&sql, (boot.trim(), EARLIER)).unwrap();
    }
}

/// Writes another boot's id into all files of a folder in which this one's stands.
fn age(folder: &Path, boot: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path, boot);
        } else if let Ok(text) = fs::read_to_string(&path)
            && text.contains(boot)
        {
            fs::write(&path, text.replace(boot, EARLIER)).unwrap();
        }
    }
}
