//! Several captures of one container that goes on: each is all that the container held then.

use statefork_runtime::{Capture, Container};

use super::flatten::SHOW;
use crate::case::{Case, Outcome, cases, check, check_eq};
use crate::fixture::Fixture;

pub(super) const CASES: &[Case] = cases![Capture:
    each_capture_is_of_its_time,
    what_took_the_place_of_something_is_captured [Programs],
    names_of_one_file_stay_names_of_one_file [Programs],
    one_change_among_many_files_is_captured [Programs],
    a_change_that_keeps_size_and_time_is_captured [Programs],
    two_containers_of_one_capture_write_everywhere [Programs],
    a_long_hole_stays_a_file [Programs],
];

/// Runs scripts in one container, each followed by a capture, and checks that a container of each
/// capture shows what the first one showed then.
async fn series(f: &Fixture, container: &Container, scripts: &[&str], show: &str) -> Outcome {
    let mut then: Vec<(Capture, String)> = Vec::new();
    for script in scripts {
        f.script(container, script).await?;
        let shown = f.script(container, show).await?;
        then.push((f.capture(container).await?, shown));
    }
    for (number, (capture, shown)) in then.into_iter().enumerate() {
        let back = f.launch_from(&capture, f.spec("serve")).await?;
        check_eq!(f.script(&back, show).await?, shown, "capture {number}");
        f.runtime().remove(&back.id).await?;
    }
    Ok(())
}

async fn each_capture_is_of_its_time(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let steps = [
        (
            "write /data/a 1 ; write /data/b 1",
            [Some("1"), Some("1"), None],
        ),
        (
            "write /data/a 2 ; rm /data/b ; write /data/c 2",
            [Some("2"), None, Some("2")],
        ),
        ("rm /data/c ; write /data/b 3", [Some("2"), Some("3"), None]),
        ("true", [Some("2"), Some("3"), None]),
    ];
    let mut captures = Vec::new();
    for (line, expected) in steps {
        f.told(&container, line).await?;
        captures.push((f.capture(&container).await?, expected));
    }
    for (number, (capture, expected)) in captures.iter().enumerate() {
        let back = f.launch_from(capture, f.spec("serve")).await?;
        for (file, content) in ["/data/a", "/data/b", "/data/c"].into_iter().zip(expected) {
            let seen = f.file(&back, file).await?;
            check_eq!(seen.as_deref(), *content, "{file} in capture {number}");
        }
    }
    Ok(())
}

async fn what_took_the_place_of_something_is_captured(f: &Fixture) -> Outcome {
    let base = super::flatten::image_with_files(f).await?;
    let container = f.launch_from(&base, f.spec("serve")).await?;
    let scripts = [
        "mkdir -p /data/a/b /data/c; echo 1 > /data/a/b/1; echo 2 > /data/c/2; echo d > /data/d; \
         rm /srv/one/1; echo own > /srv/two/own",
        // Folders and files change places, of the image and of the container.
        "cd /data; rm -r a; echo a > a; rm d; mkdir d; echo 3 > d/3; rm -r /srv/one; \
         mkdir /srv/one; echo new > /srv/one/new; rm /srv/three; mkdir /srv/three",
        // A folder moves with all that it holds, and another one of its name comes.
        "cd /data; mv c e; mkdir c; echo 4 > c/4; rm a; mkdir a; rm -r /srv/two",
        "cd /data; mv e/2 c/2; rmdir e; rm -r d; mkdir -p /srv/two; echo again > /srv/two/2",
    ];
    series(f, &container, &scripts, SHOW).await
}

async fn names_of_one_file_stay_names_of_one_file(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let scripts = [
        "mkdir -p /data /srv; cd /data; echo one > a; ln a b; echo x > x",
        "cd /data; echo two >> b; ln x y",
        "cd /data; mkdir d; mv a d/a; ln d/a c",
        "cd /data; rm b; chmod 600 c",
    ];
    let show = "cd /data; ls -R; for f in a b c d/a x y; do [ -e $f ] && cat $f; \
                for g in a b c d/a x y; do [ $f -ef $g ] && echo $f $g; done; done; true";
    series(f, &container, &scripts, show).await
}

async fn one_change_among_many_files_is_captured(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let scripts = [
        "mkdir -p /data /srv; cd /data; i=0; while [ $i -lt 1000 ]; do echo $i > $i; i=$((i+1)); done",
        "echo changed > /data/500; rm /data/501",
    ];
    let show = "cd /data; ls | wc -l; cat 499 500 502; [ -e 501 ] || echo gone";
    series(f, &container, &scripts, show).await
}

async fn a_change_that_keeps_size_and_time_is_captured(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let scripts = [
        "mkdir -p /data /srv; echo before > /data/file; touch -d '2001-02-03 00:00:00' /data/file",
        "echo after_ > /data/file; touch -d '2001-02-03 00:00:00' /data/file",
    ];
    series(f, &container, &scripts, SHOW).await
}

async fn two_containers_of_one_capture_write_everywhere(f: &Fixture) -> Outcome {
    let base = super::flatten::image_with_files(f).await?;
    let first = f.launch_from(&base, f.spec("serve")).await?;
    f.script(&first, "mkdir -p /data; echo shared > /data/shared")
        .await?;
    let capture = f.capture(&first).await?;
    let one = f.launch_from(&capture, f.spec("serve")).await?;
    let two = f.launch_from(&capture, f.spec("serve")).await?;
    let write = "for f in /data/shared /srv/one/1 /srv/three /etc/motd /bin/own; do \
                 echo $(hostname) > $f; done; rm /etc/old; mkdir /etc/old";
    let before = f
        .script(&two, &format!("{SHOW}; cat /etc/motd /etc/old"))
        .await?;
    f.script(&one, write).await?;
    let after = f
        .script(&two, &format!("{SHOW}; cat /etc/motd /etc/old"))
        .await?;
    check_eq!(after, before, "the other shows");
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    let new = f
        .script(&back, &format!("{SHOW}; cat /etc/motd /etc/old"))
        .await?;
    check_eq!(new, before, "a new one shows");
    Ok(())
}

async fn a_long_hole_stays_a_file(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let script = "mkdir -p /data; cd /data; truncate -s 67108864 hole; echo end >> hole";
    f.script(&container, script).await?;
    let capture = f.capture(&container).await?;
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    let shown = f
        .script(&back, "stat -c %s /data/hole; tail -c 4 /data/hole")
        .await?;
    check!(shown == "67108868\nend", "it shows {shown:?}");
    Ok(())
}
