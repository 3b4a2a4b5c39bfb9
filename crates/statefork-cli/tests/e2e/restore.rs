//! A restore never loses the old before the new can be used, and no connection is refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::http;
use crate::target_app::App;
use crate::world::{APP, World};

/// Breaks the application's program, takes a snapshot of that, and restores it: which must fail.
fn restore_broken(world: &World, app: App, program: &str) -> String {
    world.sh(&format!(
        "cp /app/app.py /tmp/app.py; rm -r /app/__pycache__; printf '{program}' > /app/app.py"
    ));
    let broken = world.snapshot();
    app.set_key("planet", "mars");
    let before = app.instance();
    let error = world.fails(1, &["restore", &broken]);
    assert_eq!(app.instance(), before, "the process is another one");
    assert_eq!(app.key("planet").as_deref(), Some("mars"));
    // It can still be worked with.
    world.sh("cp /tmp/app.py /app/app.py");
    let mended = world.snapshot();
    world.json(&["restore", &mended]);
    assert_ne!(app.instance(), before);
    error
}

pub(crate) fn one_that_crashes_leaves_the_old_process(world: World) {
    let app = world.up_app();
    let error = restore_broken(&world, app, "raise SystemExit(\"no database\")\\n");
    assert!(error.contains("no database"), "{error}");
    assert!(error.contains("exited"), "{error}");
}

pub(crate) fn one_that_never_gets_ready_leaves_the_old_process(world: World) {
    world.configure(&format!(
        "image: {APP}\nports: [\"8000\"]\nreadiness:\n  http: {{port: 8000, path: /health}}\n  timeout: 6s\n"
    ));
    let app = App::of(&world.json(&["up"]));
    let program = "import time\\nprint(\"still waiting\", flush=True)\\ntime.sleep(600)\\n";
    let error = restore_broken(&world, app, program);
    assert!(error.contains("still waiting"), "{error}");
    assert!(error.contains("within 6 s"), "{error}");
}

/// A request of the client below: when its connection was opened, and what came of it.
type Asked = (Instant, std::io::Result<u16>);

/// Sends a request every 10 ms, each on a connection of its own, the next one after the answer.
fn ask_until(stop: &AtomicBool, app: App) -> Vec<Asked> {
    let mut asked = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let stream = http::connect(app.0).expect("a connection was refused");
        let opened = Instant::now();
        let answer = http::ask(stream, "GET", "/counter", b"");
        asked.push((opened, answer.map(|answer| answer.status)));
        thread::sleep(Duration::from_millis(10).saturating_sub(opened.elapsed()));
    }
    asked
}

pub(crate) fn ten_in_a_row_refuse_no_connection(world: World) {
    let app = world.up_app();
    app.write_file("note", "kept");
    let one = world.snapshot();
    let stop = AtomicBool::new(false);
    let (asked, restores) = thread::scope(|scope| {
        let client = scope.spawn(|| ask_until(&stop, app));
        let restores: Vec<_> = (0..10)
            .map(|_| {
                let begun = Instant::now();
                world.json(&["restore", &one]);
                begun..=Instant::now()
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        (client.join().unwrap(), restores)
    });
    let failed: Vec<_> = asked
        .iter()
        .filter(|(_, status)| !matches!(status, Ok(200)))
        .collect();
    println!("{} requests, failed: {failed:?}", asked.len());
    // Only what was in flight on an old container may fail, and one client has one in flight at each
    // freeze; on a slow machine one that was opened towards a restore's end is frozen by the next.
    assert!(failed.len() <= restores.len(), "{failed:?}");
    let during_none = |opened| !restores.iter().any(|restore| restore.contains(opened));
    assert!(
        !failed.iter().any(|(opened, _)| during_none(opened)),
        "{failed:?}"
    );
    assert!(asked.len() > 20, "only {} requests", asked.len());
    assert_eq!(app.file("note").as_deref(), Some("kept"));
}

pub(crate) fn the_address_stays_when_the_shim_is_killed(world: World) {
    let app = world.up_app();
    let before = app.instance();
    for next in [&["up"][..], &["tag", "here"], &["snapshot"]] {
        kill_shim(&world);
        let begun = Instant::now();
        while http::connect(app.0).is_ok() {
            assert!(begun.elapsed().as_secs() < 5, "the port is still served");
        }
        // Whatever changes something has it served again; the application went on.
        world.json(next);
        assert_eq!(app.instance(), before, "{next:?}");
    }
    world.json(&["restore", "HEAD"]);
    assert_ne!(app.instance(), before);
}

pub(crate) fn kill_shim(world: &World) {
    for entry in std::fs::read_dir(world.home().join("shims")).unwrap() {
        let lock = std::fs::read(entry.unwrap().path().join("lock")).unwrap();
        let holder: serde_json::Value = serde_json::from_slice(&lock).unwrap();
        let pid = i32::try_from(holder["pid"].as_i64().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}
