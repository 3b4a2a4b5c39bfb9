//! Chains whose layers become one.

use std::time::Duration;

use serde_json::{Value, json};
use statefork_runtime::{Capture, ContainerSpec, ErrorKind, ObjectKind, ObjectType};

use crate::case::{Case, Outcome, cases, check, check_eq, fails_with};
use crate::fixture::Fixture;
use crate::image::Draft;

pub(super) const CASES: &[Case] = cases![Capture:
    a_long_chain_is_flattened,
    a_flattened_capture_stands_alone,
    a_chain_goes_on_from_a_flattened_capture,
    a_flattened_capture_keeps_the_configuration,
    a_flattened_capture_has_its_own_labels,
    bytes_of_a_flattened_capture_are_those_of_its_layer,
    flattening_what_has_no_layers_of_its_own_adds_none,
    flattening_to_a_taken_name_is_refused,
    a_base_must_be_below_the_capture,
    a_lost_capture_is_not_flattened,
    a_dropped_flattening_leaves_nothing_half [Programs],
    attributes_survive_the_flattening [Programs],
    deletions_survive_the_flattening [Programs],
    hard_links_survive_the_flattening [Programs],
    file_capabilities_survive_the_flattening [Programs],
];

/// Captures what `line` leaves in a container that was launched from `from`.
pub(super) async fn grow(f: &Fixture, from: &Capture, line: &str) -> Outcome<Capture> {
    let container = f.launch_from(from, f.spec(line)).await?;
    check_eq!(f.exit(&container).await?, Some(0), "{line:?} ended with");
    let captured = f.capture_as(&container.id, &f.capture_request()).await?;
    f.runtime().remove(&container.id).await?;
    let layers = f.runtime().layers(&captured.capture).await?;
    check_eq!(captured.layers, layers, "its layers by its own account");
    Ok(captured.capture)
}

/// The same for a script of the image's shell.
pub(super) async fn grow_by_script(f: &Fixture, from: &Capture, script: &str) -> Outcome<Capture> {
    let spec = ContainerSpec {
        command: Some(f.shell(&format!("set -e; {script}"))),
        ..ContainerSpec::default()
    };
    let container = f.launch_from(from, spec).await?;
    check_eq!(f.exit(&container).await?, Some(0), "{script:?} ended with");
    let capture = f.capture(&container).await?;
    f.runtime().remove(&container.id).await?;
    Ok(capture)
}

pub(super) async fn flatten(f: &Fixture, capture: &Capture) -> Outcome<Capture> {
    let request = f.flatten_request(&f.base());
    let flattened = f.flatten_as(capture, &request).await?;
    let layers = f.runtime().layers(&flattened.capture).await?;
    check_eq!(flattened.layers, layers, "its layers by its own account");
    Ok(flattened.capture)
}

async fn a_long_chain_is_flattened(f: &Fixture) -> Outcome {
    const DEPTH: usize = 20;
    let base = f.base();
    let below = f.runtime().layers(&base).await?;
    let image = f.runtime().inspect_image(f.image().as_str()).await?;
    check_eq!(image.map(|image| image.layers), Some(below), "the image's");
    let mut chain = base;
    for step in 1..=DEPTH {
        let line = match step {
            1 => "write /data/1 1 ; write /data/last 1 ; rm /etc/old".to_owned(),
            _ if step % 2 == 0 => format!(
                "write /data/{step} {step} ; write /data/last {step} ; rm /data/{}",
                step - 1
            ),
            _ => format!("write /data/{step} {step} ; write /etc/motd {step}"),
        };
        chain = grow(f, &chain, &line).await?;
    }
    let layers = f.runtime().layers(&chain).await?;
    check_eq!(layers, below + DEPTH as u32, "the chain's layers");
    let flat = flatten(f, &chain).await?;
    let layers = f.runtime().layers(&flat).await?;
    check_eq!(layers, below + 1, "the flattened chain's layers");
    for (what, capture) in [("the chain", &chain), ("the flattened one", &flat)] {
        let back = f.launch_from(capture, f.spec("serve")).await?;
        let old = f.file(&back, "/etc/old").await?;
        check_eq!(old, None, "the image's file in {what}");
        let motd = f.file(&back, "/etc/motd").await?;
        check_eq!(motd.as_deref(), Some("19"), "the changed file in {what}");
        let last = f.file(&back, "/data/last").await?;
        check_eq!(last.as_deref(), Some("20"), "the last file in {what}");
        for file in 1..=DEPTH {
            let seen = f.file(&back, &format!("/data/{file}")).await?;
            let expected = (file % 2 == 0).then(|| file.to_string());
            check_eq!(seen, expected, "file {file} in {what}");
        }
    }
    Ok(())
}

async fn a_flattened_capture_stands_alone(f: &Fixture) -> Outcome {
    let first = grow(f, &f.base(), "write /data/one 1").await?;
    let second = grow(f, &first, "write /data/two 2").await?;
    let flat = flatten(f, &second).await?;
    let other = flatten(f, &second).await?;
    f.runtime().remove_capture(&second).await?;
    f.runtime().remove_capture(&first).await?;
    f.runtime().remove_capture(&other).await?;
    let back = f.launch_from(&flat, f.spec("serve")).await?;
    for (file, content) in [("/data/one", "1"), ("/data/two", "2")] {
        let seen = f.file(&back, file).await?;
        check_eq!(seen.as_deref(), Some(content), "{file}");
    }
    Ok(())
}

async fn a_chain_goes_on_from_a_flattened_capture(f: &Fixture) -> Outcome {
    let below = f.runtime().layers(&f.base()).await?;
    let first = grow(f, &f.base(), "write /data/one 1 ; write /data/two 1").await?;
    let second = grow(f, &first, "write /data/two 2").await?;
    let flat = flatten(f, &second).await?;
    let third = grow(f, &flat, "rm /data/one ; write /data/three 3").await?;
    let layers = f.runtime().layers(&third).await?;
    check_eq!(layers, below + 2, "its layers");
    let again = flatten(f, &third).await?;
    let layers = f.runtime().layers(&again).await?;
    check_eq!(layers, below + 1, "its layers when it is flattened again");
    let back = f.launch_from(&again, f.spec("serve")).await?;
    let expected = [
        ("/data/one", None),
        ("/data/two", Some("2")),
        ("/data/three", Some("3")),
    ];
    for (file, content) in expected {
        let seen = f.file(&back, file).await?;
        check_eq!(seen.as_deref(), content, "{file}");
    }
    Ok(())
}

async fn a_flattened_capture_keeps_the_configuration(f: &Fixture) -> Outcome {
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
    let base = f.runtime().of_image(&image);
    // As root, since it writes.
    let spec = ContainerSpec {
        entrypoint: Some(Vec::new()),
        user: Some("0".into()),
        ..f.spec("write /data/one 1")
    };
    let container = f.launch_from(&base, spec).await?;
    f.exit(&container).await?;
    let request = f.capture_request();
    let capture = f.capture_as(&container.id, &request).await?.capture;
    let flatten_request = f.flatten_request(&base);
    let flat = f.flatten_as(&capture, &flatten_request).await?.capture;
    let mut configs = Vec::new();
    for name in [&request.name, &flatten_request.name] {
        let image = f.runtime().inspect_image(name).await?;
        let mut config = image.map(|image| image.config).unwrap_or_default();
        config.labels.clear();
        configs.push(config);
    }
    check_eq!(configs[1], configs[0], "the configuration");
    let back = f.launch_from(&flat, ContainerSpec::default()).await?;
    check_eq!(f.exit(&back).await?, Some(0), "the exit code");
    check_eq!(f.logs(&back).await?.0, "own\n1000\n/etc", "it says");
    Ok(())
}

async fn a_flattened_capture_has_its_own_labels(f: &Fixture) -> Outcome {
    let capture = grow(f, &f.base(), "write /data/one 1").await?;
    let request = f.flatten_request(&f.base());
    f.flatten_as(&capture, &request).await?;
    let image = f.runtime().inspect_image(&request.name).await?;
    let labels = image.map(|image| image.config.labels).unwrap_or_default();
    for (name, value) in &request.labels {
        check_eq!(labels.get(name), Some(value), "label {name}");
    }
    Ok(())
}

async fn bytes_of_a_flattened_capture_are_those_of_its_layer(f: &Fixture) -> Outcome {
    let text = "x".repeat(20_000);
    let line = format!("write /data/big {text}");
    let first = grow(f, &f.base(), &line).await?;
    let second = grow(f, &first, &line).await?;
    let request = f.flatten_request(&f.base());
    let flat = f.flatten_as(&second, &request).await?;
    check!(
        (20_000..40_000).contains(&flat.size_bytes),
        "20000 bytes are {}",
        flat.size_bytes
    );
    Ok(())
}

async fn flattening_what_has_no_layers_of_its_own_adds_none(f: &Fixture) -> Outcome {
    let flat = flatten(f, &f.base()).await?;
    let below = f.runtime().layers(&f.base()).await?;
    check_eq!(f.runtime().layers(&flat).await?, below, "its layers");
    let back = f.launch_from(&flat, f.spec("serve")).await?;
    let motd = f.file(&back, "/etc/motd").await?;
    check_eq!(motd.as_deref(), Some("welcome"), "the image's file");
    Ok(())
}

async fn flattening_to_a_taken_name_is_refused(f: &Fixture) -> Outcome {
    let first = grow(f, &f.base(), "write /data/one 1").await?;
    let request = f.flatten_request(&f.base());
    let flat = f.flatten_as(&first, &request).await?.capture;
    let second = grow(f, &first, "write /data/one 2").await?;
    let before = f.runtime().find(&f.home).await?;
    let mut again = request.clone();
    again.labels = f.labels(ObjectType::Capture);
    let refused = f.flatten_as(&second, &again).await;
    fails_with("the second", refused, &[ErrorKind::Conflict])?;
    check_eq!(f.runtime().find(&f.home).await?, before, "what is there");
    let back = f.launch_from(&flat, f.spec("serve")).await?;
    let one = f.file(&back, "/data/one").await?;
    check_eq!(one.as_deref(), Some("1"), "the first one's file");
    Ok(())
}

async fn a_base_must_be_below_the_capture(f: &Fixture) -> Outcome {
    let first = grow(f, &f.base(), "write /data/one 1").await?;
    let other = grow(f, &f.base(), "write /data/two 2").await?;
    let before = f.runtime().find(&f.home).await?;
    for (what, capture, base) in [
        ("one beside it", &first, &other),
        ("one above it", &f.base(), &first),
    ] {
        let request = f.flatten_request(base);
        let refused = f.flatten_as(capture, &request).await;
        fails_with(what, refused, &[ErrorKind::Invalid])?;
    }
    check_eq!(f.runtime().find(&f.home).await?, before, "what is there");
    // Any other one below it will do.
    let second = grow(f, &first, "write /data/one 2").await?;
    let third = grow(f, &second, "write /data/two 2").await?;
    let flat = f.flatten_as(&third, &f.flatten_request(&first)).await?;
    let below = f.runtime().layers(&f.base()).await?;
    let layers = f.runtime().layers(&flat.capture).await?;
    check_eq!(layers, below + 2, "the layers above the first");
    Ok(())
}

async fn a_lost_capture_is_not_flattened(f: &Fixture) -> Outcome {
    let capture = grow(f, &f.base(), "write /data/one 1").await?;
    let lost = grow(f, &f.base(), "write /data/two 2").await?;
    f.runtime().remove_capture(&lost).await?;
    let kinds = [ErrorKind::NotFound(ObjectKind::Capture)];
    fails_with("its layers", f.runtime().layers(&lost).await, &kinds)?;
    let flat = f.flatten_as(&lost, &f.flatten_request(&f.base())).await;
    fails_with("a lost capture", flat, &kinds)?;
    let flat = f.flatten_as(&capture, &f.flatten_request(&lost)).await;
    fails_with("a lost base", flat, &kinds)?;
    let damaged = Capture {
        data: Value::Null,
        ..capture
    };
    let kinds = [ErrorKind::Damaged];
    fails_with("its layers", f.runtime().layers(&damaged).await, &kinds)?;
    let flat = f.flatten_as(&damaged, &f.flatten_request(&f.base())).await;
    fails_with("damaged data", flat, &kinds)
}

async fn a_dropped_flattening_leaves_nothing_half(f: &Fixture) -> Outcome {
    let first = grow(f, &f.base(), "write /data/one 1").await?;
    let second = grow(f, &first, "write /data/one 2").await?;
    let before = f.runtime().find(&f.home).await?;
    for wait in [0, 5, 20, 50, 100, 200] {
        let request = f.flatten_request(&f.base());
        let flattening = f.runtime().flatten(&second, &request);
        let over = tokio::time::timeout(Duration::from_millis(wait), flattening).await;
        if let Ok(result) = over {
            result?;
        }
        // What a dropped call has begun may come into being after it, but then it is whole.
        tokio::time::sleep(Duration::from_millis(500)).await;
        if let Some(made) = f.runtime().inspect_image(&request.name).await? {
            let made = f.runtime().of_image(&made.id);
            let back = f.launch_from(&made, f.spec("serve")).await?;
            let one = f.file(&back, "/data/one").await?;
            check_eq!(one.as_deref(), Some("2"), "the file after {wait} ms");
            f.runtime().remove(&back.id).await?;
            f.runtime().remove_image(&request.name).await?;
        }
        let after = f.runtime().find(&f.home).await?;
        check_eq!(after, before, "what is there after {wait} ms");
    }
    Ok(())
}

/// Lists all of `/data` and `/srv` with attributes, then the contents.
pub(super) const SHOW: &str = "find /data /srv | sort | while read -r path; do \
    stat -c '%n %F %a %u %g %Y' \"$path\"; done; \
    find /data /srv -type f | sort | xargs md5sum; ls -Rl /data /srv | grep -e '->'; true";

/// The image of the cases with files that can be replaced, as a capture.
pub(super) async fn image_with_files(f: &Fixture) -> Outcome<Capture> {
    let files = &[("srv/one/1", "1"), ("srv/two/2", "2"), ("srv/three", "3")];
    let draft = Draft {
        files,
        ..Draft::default()
    };
    let (image, _) = f.import(draft).await?;
    Ok(f.runtime().of_image(&image))
}

/// Runs scripts, each in a capture of the one before, and shows the last one and its flattened
/// capture, which must be alike.
async fn shown_alike(f: &Fixture, scripts: &[&str], show: &str) -> Outcome<String> {
    let base = image_with_files(f).await?;
    let mut chain = base.clone();
    for script in scripts {
        chain = grow_by_script(f, &chain, script).await?;
    }
    let flat = f.flatten_as(&chain, &f.flatten_request(&base)).await?;
    let below = f.runtime().layers(&base).await?;
    let layers = f.runtime().layers(&flat.capture).await?;
    check_eq!(layers, below + 1, "its layers");
    let before = f.launch_from(&chain, f.spec("serve")).await?;
    let before = f.script(&before, show).await?;
    let after = f.launch_from(&flat.capture, f.spec("serve")).await?;
    check_eq!(f.script(&after, show).await?, before, "it shows");
    Ok(before)
}

async fn attributes_survive_the_flattening(f: &Fixture) -> Outcome {
    let long = "n".repeat(150);
    let first = format!(
        "mkdir -p /data/empty /data/{long}; cd /data; echo x > file; chown 1000:65534 file; \
         chmod 4751 file; ln -s /nowhere/{long} link; mkfifo pipe; chmod 1770 empty; \
         truncate -s 1000000 sparse; echo {long} > {long}/{long}; \
         touch -d '2001-02-03 00:00:00' file empty"
    );
    let second = "cd /data; chmod 600 sparse; chown 7:8 empty; chown -h 5:6 link; \
                  touch -d '2002-03-04 00:00:00' sparse .; chmod 711 . /srv/one/1";
    let shown = shown_alike(f, &[&first, second], SHOW).await?;
    for line in [
        "/data/file regular file 4751 1000 65534 981158400",
        "/data/empty directory 1770 7 8 981158400",
        "/data/sparse regular file 600 0 0 1015200000",
        "/data directory 711 0 0 1015200000",
        "/srv/one/1 regular file 711 0 0 0",
    ] {
        check!(shown.contains(line), "{shown} has no line {line}");
    }
    Ok(())
}

async fn deletions_survive_the_flattening(f: &Fixture) -> Outcome {
    let scripts = [
        // A folder of the image is replaced, a file of it becomes a folder.
        "rm -r /srv/one; mkdir -m 750 /srv/one; echo new > /srv/one/new; \
         rm /srv/three; mkdir -m 700 /srv/three; touch /srv/three/4; \
         mkdir -p /data/a/b /data/c; touch /data/a/b/1 /data/c/2 /data/d",
        // Files take the places of folders and the reverse, and a folder of the image goes.
        "rm -r /data/a /srv/two; touch /data/a; rm /data/d; mkdir /data/d; touch /data/d/3",
        "rm /data/a; mkdir /data/a; touch /data/a/4; rm -r /data/c; touch /srv/one/last",
        "rm /data/a/4; touch /data/a/5; mkdir /srv/two",
    ];
    shown_alike(f, &scripts, SHOW).await?;
    let show = "find /data /srv | sort | xargs echo; ls -l /data/a";
    let shown = shown_alike(f, &scripts, show).await?;
    let expected = "/data /data/a /data/a/5 /data/d /data/d/3 /srv /srv/one /srv/one/last \
                    /srv/one/new /srv/three /srv/three/4 /srv/two";
    check_eq!(shown.lines().next(), Some(expected), "the files");
    Ok(())
}

async fn hard_links_survive_the_flattening(f: &Fixture) -> Outcome {
    let scripts = [
        "mkdir /data; cd /data; echo one > a; ln a b; ln a c; echo two > x; ln x y",
        // The names under which the two are stored go: one by a deletion, one by a new file.
        "cd /data; rm a x; echo three > x",
        "cd /data; echo four > m; ln m k",
    ];
    let show = "cd /data && cat b c y x m k && ls && [ b -ef c ] && [ k -ef m ] && [ ! y -ef x ]";
    let shown = shown_alike(f, &scripts, show).await?;
    let shown: Vec<&str> = shown.lines().collect();
    let expected = "one one two three four four b c k m x y";
    check_eq!(shown.join(" "), expected, "the files");
    Ok(())
}

async fn file_capabilities_survive_the_flattening(f: &Fixture) -> Outcome {
    let base = image_with_a_capable_program(f).await?;
    let chain = grow(f, &base, "write /data/one 1").await?;
    let flat = flatten(f, &chain).await?;
    let program = "/capable/busybox";
    let before = capabilities_of(f, &base, program).await?;
    for capture in [&chain, &flat] {
        let after = capabilities_of(f, capture, program).await?;
        check_eq!(after, before, "{program} says");
    }
    Ok(())
}

/// The image of the cases with a further `/capable/busybox`, which has a capability.
pub(super) async fn image_with_a_capable_program(f: &Fixture) -> Outcome<Capture> {
    // CAP_NET_BIND_SERVICE, permitted and effective (linux/capability.h, `vfs_cap_data`).
    let mut capability = vec![1, 0, 0, 2, 0, 4];
    capability.resize(20, 0);
    let program = f.shared().base.program()?;
    let mut layer = tar::Builder::new(Vec::new());
    let record = ("SCHILY.xattr.security.capability", capability.as_slice());
    layer.append_pax_extensions([record])?;
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    layer.append_data(&mut header, "capable/busybox", program.as_slice())?;
    let draft = Draft {
        layer: Some(layer.into_inner()?),
        ..Draft::default()
    };
    let (image, _) = f.import(draft).await?;
    Ok(f.runtime().of_image(&image))
}

/// What capabilities `program` has in a container of `capture`: its own, or none where the runtime lets
/// no program gain any.
pub(super) async fn capabilities_of(
    f: &Fixture,
    capture: &Capture,
    program: &str,
) -> Outcome<String> {
    let spec = ContainerSpec {
        command: Some(f.shell(&format!("{program} grep CapEff /proc/self/status"))),
        user: Some("1000".into()),
        ..ContainerSpec::default()
    };
    let back = f.launch_from(capture, spec).await?;
    check_eq!(f.exit(&back).await?, Some(0), "the exit code of {program}");
    let says = f.logs(&back).await?.0;
    let is_own = says.ends_with("0400") || says.ends_with("\t0000000000000000");
    check!(is_own, "{program} says {says}");
    Ok(says)
}
