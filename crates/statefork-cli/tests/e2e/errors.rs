//! Bad input gets the right exit code and a clear error, and nothing is lost.

use std::net::TcpListener;

use crate::world::{BUSYBOX, World, text};

pub(crate) fn names_that_nothing_has(world: World) {
    let error = world.fails(3, &["snapshot"]);
    assert!(error.contains("not up"), "{error}");
    world.up_busybox("sleep 600");
    let id = world.snapshot();
    let last = if id.ends_with('0') { '1' } else { '0' };
    let near = format!("{}{last}", &id[..11]);
    let error = world.fails(3, &["restore", &near]);
    assert!(error.contains(&near) && error.contains(&id), "{error}");
    let error = world.fails(3, &["show", "haed"]);
    assert!(error.contains("HEAD"), "{error}");
    world.fails(3, &["restore", "HEAD~7"]);
    world.fails(2, &["restore", "HEAD^x"]);
    assert_eq!(world.json(&["status"])["state"], "running");
}

pub(crate) fn an_image_that_is_missing(world: World) {
    let error = world.fails(3, &["up", "localhost/no-such-image:1"]);
    assert!(error.contains("localhost/no-such-image:1"), "{error}");
    assert_eq!(
        world.json(&["list"])["snapshots"].as_array().unwrap().len(),
        0
    );
    let error = world.fails(2, &["up"]);
    assert!(error.contains("image"), "{error}");
}

pub(crate) fn a_build_that_fails(world: World) {
    let context = world.folder().join("context");
    std::fs::create_dir(&context).unwrap();
    let dockerfile =
        format!("FROM {BUSYBOX}\nRUN echo so far so good && echo not so good && exit 9\n");
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let error = world.fails(1, &["up", "--build", "context"]);
    assert!(error.contains("not so good"), "{error}");
    let error = world.fails(1, &["up", "--build", "nowhere"]);
    assert!(error.contains("nowhere"), "{error}");
}

pub(crate) fn an_application_that_exits_at_once(world: World) {
    let error = world.fails(
        1,
        &[
            "up",
            BUSYBOX,
            "--",
            "sh",
            "-c",
            "echo no database >&2; exit 4",
        ],
    );
    assert!(
        error.contains("no database") && error.contains('4'),
        "{error}"
    );
    let error = world.fails(1, &["up", BUSYBOX, "--", "no-such-program"]);
    assert!(error.contains("no-such-program"), "{error}");
    assert_eq!(world.left_in_runtime(), [""; 0]);
}

pub(crate) fn an_application_that_is_never_ready(world: World) {
    world.configure("readiness:\n  tcp: {port: 8000}\n  timeout: 1s\n");
    let script = "echo I am waiting; sleep 600";
    let error = world.fails(1, &["up", BUSYBOX, "-p", "8000", "--", "sh", "-c", script]);
    assert!(
        error.contains("I am waiting") && error.contains("within 1 s"),
        "{error}"
    );
    assert_eq!(world.left_in_runtime(), [""; 0]);
}

pub(crate) fn a_port_that_is_in_use(world: World) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let publish = format!("{port}:8000");
    let error = world.fails(
        6,
        &[
            "up", BUSYBOX, "-p", &publish, "--", "httpd", "-f", "-p", "8000",
        ],
    );
    assert!(
        error.contains(&port.to_string()) && error.contains("in use"),
        "{error}"
    );
    assert_eq!(world.left_in_runtime(), [""; 0]);
    drop(listener);
    world.json(&[
        "up", BUSYBOX, "-p", &publish, "--", "httpd", "-f", "-p", "8000",
    ]);
}

pub(crate) fn a_container_removed_behind_our_back(world: World) {
    let up = world.up_busybox("sleep 600");
    world.sh("echo one > /file");
    world.snapshot();
    world.remove_behind_our_back(&text(&up["container"]));
    let error = world.fails(3, &["snapshot"]);
    assert!(error.contains("removed"), "{error}");
    assert_eq!(world.json(&["status"])["state"], "lost");
    world.json(&["restore", "HEAD"]);
    assert_eq!(world.sh("cat /file"), "one\n");
}

pub(crate) fn other_settings(world: World) {
    world.up_busybox("sleep 600");
    world.sh("echo one > /file");
    let other = [
        "up",
        BUSYBOX,
        "--hostname",
        "box",
        "--",
        "sh",
        "-c",
        "sleep 600",
    ];
    let error = world.fails(6, &other);
    assert!(
        error.contains("hostname") && error.contains("--recreate"),
        "{error}"
    );
    assert_eq!(world.sh("cat /file"), "one\n");
    let recreate = [&["up", "--recreate"], &other[1..]].concat();
    world.json(&recreate);
    assert_eq!(world.sh("hostname"), "box\n");
}

pub(crate) fn a_daemon_that_does_not_answer(world: World) {
    let socket = world.folder().join("nobody.sock");
    world.configure(&format!(
        "runtimes:\n  {}:\n    socket: {}\n",
        world.runtime,
        socket.display()
    ));
    let error = world.fails(5, &["up", BUSYBOX]);
    assert!(
        error.contains("nobody.sock") && error.contains("hint:"),
        "{error}"
    );
    // A socket file that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    world.fails(5, &["up", BUSYBOX]);
    // Reading needs no daemon.
    assert_eq!(
        world.json(&["list"])["snapshots"].as_array().unwrap().len(),
        0
    );
    world.configure("");
}
