//! Captures that are put on a flattened chain.

use std::time::Duration;

use serde_json::{Value, json};
use statefork_runtime::{Capture, ContainerSpec, ErrorKind, ObjectKind, ObjectType};

use super::flatten::{
    SHOW, capabilities_of, flatten, grow, grow_by_script, image_with_a_capable_program,
    image_with_files,
};
use crate::case::{Case, Outcome, cases, check, check_eq, fails_with};
use crate::fixture::Fixture;
use crate::image::Draft;

pub(super) const CASES: &[Case] = cases![Capture:
    a_capture_moves_to_a_flattened_chain,
    several_layers_move_one_for_one,
    a_layer_that_changes_nothing_moves_too,
    what_stands_on_nothing_else_becomes_the_other,
    a_rebased_capture_stands_alone,
    a_rebased_capture_keeps_the_configuration,
    a_rebased_capture_has_its_own_labels,
    bytes_of_a_rebased_capture_are_those_of_its_layers,
    rebasing_to_a_taken_name_is_refused,
    what_a_capture_does_not_stand_on_is_refused,
    a_lost_capture_is_not_rebased,
    a_dropped_rebase_leaves_nothing_half [Programs],
    attributes_survive_the_rebase [Programs],
    deletions_survive_the_rebase [Programs],
    hard_links_survive_the_rebase [Programs],
    file_capabilities_survive_the_rebase [Programs],
];

/// A chain of two captures, and what it is flattened to.
struct Chain {
    long: Capture,
    short: Capture,
}

async fn chain(f: &Fixture) -> Outcome<Chain> {
    let lines = [
        "write /data/one 1 ; write /data/two 1 ; rm /etc/old",
        "write /data/two 2 ; write /data/three 3",
    ];
    let mut long = f.base();
    for line in lines {
        long = grow(f, &long, line).await?;
    }
    let short = flatten(f, &long).await?;
    Ok(Chain { long, short })
}

async fn rebase(f: &Fixture, capture: &Capture, chain: &Chain) -> Outcome<Capture> {
    let request = f.rebase_request(&chain.long, &chain.short);
    let rebased = f.rebase_as(capture, &request).await?;
    let layers = f.runtime().layers(&rebased.capture).await?;
    check_eq!(rebased.layers, layers, "its layers by its own account");
    Ok(rebased.capture)
}

async fn check_files(f: &Fixture, capture: &Capture, files: &[(&str, Option<&str>)]) -> Outcome {
    let back = f.launch_from(capture, f.spec("serve")).await?;
    for (file, content) in files {
        let seen = f.file(&back, file).await?;
        check_eq!(seen.as_deref(), *content, "{file}");
    }
    Ok(())
}

async fn a_capture_moves_to_a_flattened_chain(f: &Fixture) -> Outcome {
    let chain = chain(f).await?;
    let top = grow(f, &chain.long, "write /data/two 4 ; rm /data/one").await?;
    let rebased = rebase(f, &top, &chain).await?;
    let below = f.runtime().layers(&f.base()).await?;
    let layers = f.runtime().layers(&rebased).await?;
    check_eq!(layers, below + 2, "its layers");
    let files = [
        ("/data/one", None),
        ("/data/two", Some("4")),
        ("/data/three", Some("3")),
        ("/etc/old", None),
        ("/etc/motd", Some("welcome")),
    ];
    for capture in [&top, &rebased] {
        check_files(f, capture, &files).await?;
    }
    Ok(())
}

async fn several_layers_move_one_for_one(f: &Fixture) -> Outcome {
    let chain = chain(f).await?;
    let mut top = chain.long.clone();
    for line in [
        "write /data/two 4 ; write /data/gone 4",
        "write /data/two 5 ; rm /data/gone",
        "write /data/five 5",
    ] {
        top = grow(f, &top, line).await?;
    }
    let rebased = rebase(f, &top, &chain).await?;
    let below = f.runtime().layers(&f.base()).await?;
    let layers = f.runtime().layers(&rebased).await?;
    check_eq!(layers, below + 4, "its layers");
    let files = [
        ("/data/one", Some("1")),
        ("/data/two", Some("5")),
        ("/data/gone", None),
        ("/data/five", Some("5")),
    ];
    check_files(f, &rebased, &files).await?;
    // A chain goes on from it.
    let next = grow(f, &rebased, "rm /data/five ; write /data/six 6").await?;
    let files = [("/data/five", None), ("/data/six", Some("6"))];
    check_files(f, &next, &files).await
}

async fn a_layer_that_changes_nothing_moves_too(f: &Fixture) -> Outcome {
    let chain = chain(f).await?;
    let first = grow(f, &chain.long, "true").await?;
    let second = grow(f, &first, "true").await?;
    let rebased = rebase(f, &second, &chain).await?;
    let layers = async |capture| f.runtime().layers(capture).await;
    // Some runtimes add a layer for it, others none.
    let moved = layers(&second).await? - layers(&chain.long).await?;
    let expected = layers(&chain.short).await? + moved;
    check_eq!(layers(&rebased).await?, expected, "its layers");
    let files = [("/data/one", Some("1")), ("/data/two", Some("2"))];
    check_files(f, &rebased, &files).await
}

async fn what_stands_on_nothing_else_becomes_the_other(f: &Fixture) -> Outcome {
    let chain = chain(f).await?;
    let rebased = rebase(f, &chain.long, &chain).await?;
    let short = f.runtime().layers(&chain.short).await?;
    check_eq!(f.runtime().layers(&rebased).await?, short, "its layers");
    let files = [("/data/one", Some("1")), ("/data/two", Some("2"))];
    check_files(f, &rebased, &files).await
}

async fn a_rebased_capture_stands_alone(f: &Fixture) -> Outcome {
    let chain = chain(f).await?;
    let top = grow(f, &chain.long, "write /data/four 4").await?;
    let rebased = rebase(f, &top, &chain).await?;
    let other = rebase(f, &top, &chain).await?;
    for capture in [&top, &chain.long, &chain.short, &other] {
        f.runtime().remove_capture(capture).await?;
    }
    let files = [("/data/one", Some("1")), ("/data/four", Some("4"))];
    check_files(f, &rebased, &files).await
}

async fn a_rebased_capture_keeps_the_configuration(f: &Fixture) -> Outcome {
    let draft = Draft {
        config: json!({
            "Entrypoint": f.argv("printenv OWN ; id -u ; pwd ; exit"),
            "Cmd": Value::Null,
            "Env": ["PATH=/bin", "OWN=own"],
            "User": "1000",
            "WorkingDir": "/etc",
            "ExposedPorts": {"80/tcp": {}},
        }),
        ..Draft::default()
    };
    let (image, _) = f.import(draft).await?;
    // As root, since it writes.
    let spec = ContainerSpec {
        entrypoint: Some(Vec::new()),
        user: Some("0".into()),
        ..f.spec("write /data/one 1")
    };
    let base = f.runtime().of_image(&image);
    let container = f.launch_from(&base, spec).await?;
    f.exit(&container).await?;
    let request = f.capture_request();
    let top = f.capture_as(&container.id, &request).await?.capture;
    // What it is to stand on has the same files and other settings.
    let onto = f.rebase_request(&base, &f.base());
    let rebased = f.rebase_as(&top, &onto).await?.capture;
    let mut configs = Vec::new();
    for name in [&request.name, &onto.name] {
        let image = f.runtime().inspect_image(name).await?;
        let mut config = image.map(|image| image.config).unwrap_or_default();
        config.labels.clear();
        configs.push(config);
    }
    check_eq!(configs[1], configs[0], "the configuration");
    let back = f.launch_from(&rebased, ContainerSpec::default()).await?;
    check_eq!(f.exit(&back).await?, Some(0), "the exit code");
    check_eq!(f.logs(&back).await?.0, "own\n1000\n/etc", "it says");
    Ok(())
}

async fn a_rebased_capture_has_its_own_labels(f: &Fixture) -> Outcome {
    let chain = chain(f).await?;
    let top = grow(f, &chain.long, "write /data/four 4").await?;
    let request = f.rebase_request(&chain.long, &chain.short);
    f.rebase_as(&top, &request).await?;
    let image = f.runtime().inspect_image(&request.name).await?;
    let labels = image.map(|image| image.config.labels).unwrap_or_default();
    for (name, value) in &request.labels {
        check_eq!(labels.get(name), Some(value), "label {name}");
    }
    Ok(())
}

async fn bytes_of_a_rebased_capture_are_those_of_its_layers(f: &Fixture) -> Outcome {
    let chain = chain(f).await?;
    let mut top = chain.long.clone();
    for (name, letter) in [("a", "x"), ("b", "y")] {
        let line = format!("write /data/{name} {}", letter.repeat(20_000));
        top = grow(f, &top, &line).await?;
    }
    let request = f.rebase_request(&chain.long, &chain.short);
    let rebased = f.rebase_as(&top, &request).await?;
    check!(
        (40_000..80_000).contains(&rebased.size_bytes),
        "40000 bytes are {}",
        rebased.size_bytes
    );
    Ok(())
}

async fn rebasing_to_a_taken_name_is_refused(f: &Fixture) -> Outcome {
    let chain = chain(f).await?;
    let first = grow(f, &chain.long, "write /data/four 1").await?;
    let second = grow(f, &chain.long, "write /data/four 2").await?;
    let request = f.rebase_request(&chain.long, &chain.short);
    let rebased = f.rebase_as(&first, &request).await?.capture;
    let before = f.runtime().find(&f.home).await?;
    let mut again = request.clone();
    again.labels = f.labels(ObjectType::Capture);
    let refused = f.rebase_as(&second, &again).await;
    fails_with("the second", refused, &[ErrorKind::Conflict])?;
    check_eq!(f.runtime().find(&f.home).await?, before, "what is there");
    check_files(f, &rebased, &[("/data/four", Some("1"))]).await
}

async fn what_a_capture_does_not_stand_on_is_refused(f: &Fixture) -> Outcome {
    let chain = chain(f).await?;
    let top = grow(f, &chain.long, "write /data/four 4").await?;
    let beside = grow(f, &chain.long, "write /data/five 5").await?;
    let before = f.runtime().find(&f.home).await?;
    for (what, capture, from) in [
        ("one beside it", &top, &beside),
        ("one above it", &chain.long, &top),
        ("the other chain", &top, &chain.short),
    ] {
        let request = f.rebase_request(from, &chain.short);
        let refused = f.rebase_as(capture, &request).await;
        fails_with(what, refused, &[ErrorKind::Invalid])?;
    }
    check_eq!(f.runtime().find(&f.home).await?, before, "what is there");
    Ok(())
}

async fn a_lost_capture_is_not_rebased(f: &Fixture) -> Outcome {
    let chain = chain(f).await?;
    let top = grow(f, &chain.long, "write /data/four 4").await?;
    let lost = grow(f, &f.base(), "write /data/two 2").await?;
    f.runtime().remove_capture(&lost).await?;
    let before = f.runtime().find(&f.home).await?;
    let kinds = [ErrorKind::NotFound(ObjectKind::Capture)];
    for (what, capture, from, onto) in [
        ("the capture", &lost, &chain.long, &chain.short),
        ("what it stands on", &top, &lost, &chain.short),
        ("what it is to stand on", &top, &chain.long, &lost),
    ] {
        let request = f.rebase_request(from, onto);
        fails_with(what, f.rebase_as(capture, &request).await, &kinds)?;
    }
    check_eq!(f.runtime().find(&f.home).await?, before, "what is there");
    let damaged = Capture {
        data: Value::Null,
        ..top
    };
    let request = f.rebase_request(&chain.long, &chain.short);
    let refused = f.rebase_as(&damaged, &request).await;
    fails_with("damaged data", refused, &[ErrorKind::Damaged])
}

async fn a_dropped_rebase_leaves_nothing_half(f: &Fixture) -> Outcome {
    let chain = chain(f).await?;
    let top = grow(f, &chain.long, "write /data/two 4").await?;
    let before = f.runtime().find(&f.home).await?;
    for wait in [0, 2, 5, 10, 20, 50] {
        let request = f.rebase_request(&chain.long, &chain.short);
        let rebasing = f.runtime().rebase(&top, &request);
        let over = tokio::time::timeout(Duration::from_millis(wait), rebasing).await;
        if let Ok(result) = over {
            result?;
        }
        // What a dropped call has begun may come into being after it, but then it is whole.
        tokio::time::sleep(Duration::from_millis(500)).await;
        if let Some(made) = f.runtime().inspect_image(&request.name).await? {
            let made = f.runtime().of_image(&made.id);
            let back = f.launch_from(&made, f.spec("serve")).await?;
            let two = f.file(&back, "/data/two").await?;
            check_eq!(two.as_deref(), Some("4"), "the file after {wait} ms");
            f.runtime().remove(&back.id).await?;
            f.runtime().remove_image(&request.name).await?;
        }
        let after = f.runtime().find(&f.home).await?;
        check_eq!(after, before, "what is there after {wait} ms");
    }
    Ok(())
}

/// Runs scripts, each in a capture of the one before; the first two are flattened, and the last of
/// the others is put on that. Shows it before and after, which must be alike.
async fn shown_alike(f: &Fixture, scripts: &[&str], show: &str) -> Outcome<String> {
    let base = image_with_files(f).await?;
    let (lower, upper) = scripts.split_at(2);
    let mut long = base.clone();
    for script in lower {
        long = grow_by_script(f, &long, script).await?;
    }
    let short = f.flatten_as(&long, &f.flatten_request(&base)).await?;
    let mut top = long.clone();
    for script in upper {
        top = grow_by_script(f, &top, script).await?;
    }
    let request = f.rebase_request(&long, &short.capture);
    let rebased = f.rebase_as(&top, &request).await?;
    let layers = short.layers + upper.len() as u32;
    check_eq!(rebased.layers, layers, "its layers");
    let before = f.launch_from(&top, f.spec("serve")).await?;
    let before = f.script(&before, show).await?;
    let after = f.launch_from(&rebased.capture, f.spec("serve")).await?;
    check_eq!(f.script(&after, show).await?, before, "it shows");
    Ok(before)
}

async fn attributes_survive_the_rebase(f: &Fixture) -> Outcome {
    let long = "n".repeat(150);
    let lower = ["mkdir /data; echo x > /data/below", "echo y > /data/below"];
    let first = format!(
        "mkdir -p /data/empty /data/{long}; cd /data; echo x > file; chown 1000:65534 file; \
         chmod 4751 file; ln -s /nowhere/{long} link; mkfifo pipe; chmod 1770 empty; \
         truncate -s 1000000 sparse; echo {long} > {long}/{long}; \
         touch -d '2001-02-03 00:00:00' file empty"
    );
    let second = "cd /data; chmod 600 sparse; chown 7:8 empty; chown -h 5:6 link; \
                  touch -d '2002-03-04 00:00:00' sparse .; chmod 711 . /srv/one/1 below";
    let shown = shown_alike(f, &[lower[0], lower[1], &first, second], SHOW).await?;
    for line in [
        "/data/file regular file 4751 1000 65534 981158400",
        "/data/empty directory 1770 7 8 981158400",
        "/data/sparse regular file 600 0 0 1015200000",
        "/data directory 711 0 0 1015200000",
        "/srv/one/1 regular file 711 0 0 0",
        "/data/pipe fifo 644 0 0",
    ] {
        check!(shown.contains(line), "{shown} has no line {line}");
    }
    Ok(())
}

async fn deletions_survive_the_rebase(f: &Fixture) -> Outcome {
    let scripts = [
        "mkdir -p /data/a/b /data/c /data/e; touch /data/a/b/1 /data/c/2 /data/d /data/e/3",
        "touch /data/a/2; rm -r /srv/two",
        // Folders of the image and of the chain are replaced, files take the places of folders and
        // the reverse.
        "rm -r /srv/one; mkdir -m 750 /srv/one; echo new > /srv/one/new; \
         rm -r /data/a; mkdir /data/a; touch /data/a/4; rm -r /data/c; touch /data/c",
        "rm /data/d /srv/three; mkdir /data/d; touch /data/d/5; rm -r /data/e; rm /data/a/4; \
         touch /data/a/6; mkdir /srv/two",
    ];
    shown_alike(f, &scripts, SHOW).await?;
    let show = "find /data /srv | sort | xargs echo; ls -l /data/a";
    let shown = shown_alike(f, &scripts, show).await?;
    let expected = "/data /data/a /data/a/6 /data/c /data/d /data/d/5 /srv /srv/one /srv/one/new \
                    /srv/two";
    check_eq!(shown.lines().next(), Some(expected), "the files");
    Ok(())
}

async fn hard_links_survive_the_rebase(f: &Fixture) -> Outcome {
    let scripts = [
        "mkdir /data; cd /data; echo one > a; ln a b",
        "cd /data; echo two > x",
        "cd /data; echo three > m; ln m k; ln m l; ln -s m s; ln x y",
        "cd /data; rm m; echo four > m",
    ];
    let show = "cd /data && cat a b x y k l m && ls && [ a -ef b ] && [ k -ef l ] && \
                [ ! k -ef m ] && [ x -ef y ]";
    let shown = shown_alike(f, &scripts, show).await?;
    let shown: Vec<&str> = shown.lines().collect();
    let expected = "one one two two three three four a b k l m s x y";
    check_eq!(shown.join(" "), expected, "the files");
    Ok(())
}

async fn file_capabilities_survive_the_rebase(f: &Fixture) -> Outcome {
    let base = image_with_a_capable_program(f).await?;
    let long = grow(f, &base, "write /data/one 1").await?;
    let request = f.flatten_request(&base);
    let short = f.flatten_as(&long, &request).await?.capture;
    let top = grow_by_script(f, &long, "mv /capable/busybox /capable/busybox-moved").await?;
    let rebased = rebase(f, &top, &Chain { long, short }).await?;
    let before = capabilities_of(f, &base, "/capable/busybox").await?;
    for capture in [&top, &rebased] {
        let after = capabilities_of(f, capture, "/capable/busybox-moved").await?;
        check_eq!(after, before, "the moved program says");
    }
    Ok(())
}
