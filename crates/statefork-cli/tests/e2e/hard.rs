//! Captures of what is hard to capture, as a user meets it: files with holes, capabilities of files,
//! memory that a program writes to a file with no call, one byte beside a hundred megabytes.

use std::time::Duration;

use serde_json::Value;

use crate::world::{APP, World, text, wait_for};

/// How long a program may take to begin.
const SOON: Duration = Duration::from_secs(20);

/// Counts in two files of 64 pages each, through shared mappings: one page after the other, the
/// same number everywhere before the next. Says first what it finds, and goes on from there.
const COUNTER: &str = r#"
import mmap, os
PAGES = 64
def mapped(path):
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.truncate(file, PAGES * 4096)
    return memoryview(mmap.mmap(file, PAGES * 4096)).cast("Q")
files = [mapped("/data-one"), mapped("/data-two")]
places = [(file, page * 512) for file in files for page in range(PAGES)]
found = [file[place] for file, place in places]
with open("/found.new", "w") as file:
    print(*found, file=file)
os.rename("/found.new", "/found")
count = max(found)
while True:
    count += 1
    for file, place in places:
        file[place] = count
"#;

/// The rest of the zeros of a gigabyte, with something in the middle and at the end.
const HOLES: &str = "truncate -s 1073741820 /hole; echo end >> /hole; \
                     echo middle | dd of=/hole bs=1 seek=536870912 conv=notrunc 2>/dev/null";
/// All that is no zero, and where one piece of it lies.
const SHOW_HOLES: &str = "stat -c %s /hole; tr -d '\\000' < /hole; \
                          dd if=/hole bs=1M skip=512 count=1 2>/dev/null | head -c 7";

/// One of a gigabyte, of which almost nothing is there, is what it was.
pub(crate) fn a_sparse_gigabyte(world: World) {
    world.up_busybox("sleep 600");
    world.sh(HOLES);
    let before = world.sh(SHOW_HOLES);
    assert_eq!(before, "1073741824\nmiddle\nend\nmiddle\n");
    let snapshot = world.snapshot();
    world.sh("rm /hole");
    world.json(&["restore", &snapshot]);
    assert_eq!(world.sh(SHOW_HOLES), before);
}

/// And takes no more room than that.
pub(crate) fn holes_take_no_room(world: World) {
    world.up_busybox("sleep 600");
    world.sh(HOLES);
    let snapshot = world.json(&["snapshot"]);
    assert!(size(&snapshot) < 1 << 20, "{snapshot}");
    world.json(&["restore", "HEAD"]);
    let kilobytes = world.sh("du -k /hole | cut -f1");
    assert!(kilobytes.trim().parse::<u64>().unwrap() < 64, "{kilobytes}");
    // Written to in the new container, whose kernel copies it up in pieces of a megabyte.
    world.sh("echo more >> /hole");
    let second = world.json(&["snapshot"]);
    assert!(size(&second) < 4 << 20, "{second}");
    world.json(&["restore", "HEAD"]);
    assert_eq!(world.sh("tail -c 9 /hole"), "end\nmore\n");
}

/// Sets attributes by Python and shows them.
fn python(world: &World, script: &str) -> String {
    world.ok(&["exec", "--", "python3", "-c", script])
}

/// `CAP_NET_RAW`, effective, as version 2 of the kernel's format has it.
const SET_CAPABILITY: &str = r#"
import os, shutil, struct
shutil.copy("/bin/cat", "/able")
os.setxattr("/able", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
"#;
const SHOW_CAPABILITY: &str =
    r#"import os; print(os.getxattr("/able", "security.capability").hex())"#;

pub(crate) fn capabilities_of_files_stay(world: World) {
    world.up_app();
    python(&world, SET_CAPABILITY);
    let before = python(&world, SHOW_CAPABILITY);
    let one = world.snapshot();
    // Changed without the content, and taken away.
    python(
        &world,
        r#"import os; v = os.getxattr("/able", "security.capability"); os.setxattr("/able", "security.capability", v[:4] + b"\0\4" + v[6:])"#,
    );
    let changed = python(&world, SHOW_CAPABILITY);
    assert_ne!(changed, before);
    let two = world.snapshot();
    python(
        &world,
        r#"import os; os.removexattr("/able", "security.capability")"#,
    );
    let three = world.snapshot();
    for (snapshot, expected) in [(&one, &before), (&two, &changed)] {
        world.json(&["restore", snapshot]);
        assert_eq!(python(&world, SHOW_CAPABILITY), *expected);
    }
    world.json(&["restore", &three]);
    let gone = world.run(&["exec", "--", "python3", "-c", SHOW_CAPABILITY]);
    assert!(gone.stderr.contains("OSError"), "{}", gone.stderr);
}

/// Those of a user's own, of files, folders and what a layer below has.
pub(crate) fn attributes_of_users_stay(world: World) {
    const SET: &str = r#"
import os
os.makedirs("/own/folder")
open("/own/file", "w").close()
for path in ["/own", "/own/folder", "/own/file", "/etc", "/etc/passwd"]:
    os.setxattr(path, "user.note", path.encode() * 20)
    os.setxattr(path, "user.empty", b"")
"#;
    const SHOW: &str = r#"
import os
for path in ["/own", "/own/folder", "/own/file", "/etc", "/etc/passwd"]:
    names = sorted(os.listxattr(path))
    print(path, [(name, os.getxattr(path, name)) for name in names])
"#;
    world.up_app();
    python(&world, SET);
    let before = python(&world, SHOW);
    let one = world.snapshot();
    python(
        &world,
        r#"import os; os.removexattr("/own", "user.empty"); os.setxattr("/etc", "user.note", b"x"); os.removexattr("/etc/passwd", "user.note")"#,
    );
    let changed = python(&world, SHOW);
    assert_ne!(changed, before);
    let two = world.snapshot();
    for (snapshot, expected) in [(&one, &before), (&two, &changed)] {
        world.json(&["restore", snapshot]);
        assert_eq!(python(&world, SHOW), *expected);
    }
}

/// What a program writes through a mapping is in a capture as it was at one instant: the pages were
/// dirty before it began, and are written while it copies ahead.
pub(crate) fn a_mapping_that_is_written_all_the_time(world: World) {
    world.configure("entrypoint: [python3]\n");
    world.json(&["up", APP, "--", "-c", COUNTER]);
    let count = || {
        let script = r#"print(memoryview(open("/data-two", "rb").read()).cast("Q")[63 * 512])"#;
        python(&world, script).trim().parse::<u64>().unwrap()
    };
    wait_for(SOON, || {
        world.run(&["exec", "--", "test", "-s", "/data-two"]).code == 0
    });
    wait_for(SOON, || count() > 0);
    let mut taken = Vec::new();
    for _ in 0..5 {
        let before = count();
        let snapshot = world.snapshot();
        taken.push((snapshot, before, count()));
    }
    for (snapshot, before, after) in taken {
        world.json(&["restore", &snapshot]);
        world.sh("until [ -e /found ]; do sleep 0.01; done");
        let found = world.sh("cat /found");
        let found: Vec<u64> = found
            .split(' ')
            .map(|n| n.trim().parse().unwrap())
            .collect();
        let (first, last) = (found[0], found[found.len() - 1]);
        assert!(
            found.is_sorted_by(|one, next| one >= next),
            "torn: {found:?}"
        );
        assert!(first - last <= 1, "of two instants: {found:?}");
        assert!(
            before <= last && last <= after,
            "{found:?} is not within {before}..={after}"
        );
    }
}

const LARGE: &str = "dd if=/dev/urandom of=/large bs=1M count=100 2>/dev/null; echo a > /small";

/// The content of both files is right in both snapshots.
pub(crate) fn one_byte_beside_much(world: World) {
    one_byte(&world);
}

/// And the second one stores that byte, not the rest.
pub(crate) fn one_byte_beside_much_is_little(world: World) {
    let [first, second] = one_byte(&world);
    assert!(size(&first) > 100 << 20, "{first}");
    assert!(size(&second) < 64 << 10, "{second}");
}

fn one_byte(world: &World) -> [Value; 2] {
    world.up_busybox("sleep 600");
    world.sh(LARGE);
    let sum = world.sh("sha256sum /large");
    let first = world.json(&["snapshot"]);
    world.sh("printf b | dd of=/small conv=notrunc 2>/dev/null");
    let second = world.json(&["snapshot"]);
    world.sh("echo lost > /large; rm /small");
    for (snapshot, small) in [(&first, "a\n"), (&second, "b\n")] {
        world.json(&["restore", &text(&snapshot["id"])]);
        assert_eq!(world.sh("cat /small"), small);
        assert_eq!(world.sh("sha256sum /large"), sum);
    }
    [first, second]
}

/// The bytes that a snapshot says it takes.
fn size(snapshot: &Value) -> u64 {
    snapshot["size_bytes"].as_u64().unwrap()
}
