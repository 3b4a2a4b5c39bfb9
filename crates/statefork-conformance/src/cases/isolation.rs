//! What containers do not share.

use statefork_runtime::{Container, ContainerSpec};

use crate::case::{Case, Outcome, cases, check, check_eq};
use crate::fixture::Fixture;

pub(super) const CASES: &[Case] = cases![Isolation:
    files_are_each_ones_own,
    host_names_are_each_ones_own,
    the_temporary_folder_is_each_ones_own,
    processes_do_not_see_each_other [Programs],
    rights_grow_only_where_they_may [Programs],
    addresses_are_each_ones_own [Reachable],
];

/// Two containers of one capture.
async fn pair(f: &Fixture) -> Outcome<(Container, Container)> {
    let container = f.launch("write /data/shared start ; serve").await?;
    f.until_said(&container, "serving").await?;
    let capture = f.capture(&container).await?;
    f.runtime().remove(&container.id).await?;
    let one = f.launch_from(&capture, f.spec("serve")).await?;
    let two = f.launch_from(&capture, f.spec("serve")).await?;
    Ok((one, two))
}

async fn files_are_each_ones_own(f: &Fixture) -> Outcome {
    let (one, two) = pair(f).await?;
    f.told(&one, "write /data/shared one ; write /data/own one")
        .await?;
    let shared = f.file(&two, "/data/shared").await?;
    check_eq!(shared.as_deref(), Some("start"), "the captured file");
    check_eq!(f.file(&two, "/data/own").await?, None, "the new file");
    Ok(())
}

async fn host_names_are_each_ones_own(f: &Fixture) -> Outcome {
    let (one, two) = pair(f).await?;
    let names = (
        f.told(&one, "hostname").await?,
        f.told(&two, "hostname").await?,
    );
    check!(names.0 != names.1, "both are {}", names.0);
    Ok(())
}

async fn the_temporary_folder_is_each_ones_own(f: &Fixture) -> Outcome {
    let (one, two) = pair(f).await?;
    f.told(&one, "write /tmp/own one").await?;
    check_eq!(f.file(&two, "/tmp/own").await?, None, "the other's file");
    Ok(())
}

async fn processes_do_not_see_each_other(f: &Fixture) -> Outcome {
    let (one, two) = pair(f).await?;
    f.script(&one, "sleep 4321 & true").await?;
    let count = "ps | grep 'sleep 432[1]' | wc -l";
    let own = f.script(&one, count).await?;
    check_eq!(own, "1", "the process, seen from its container,");
    let other = f.script(&two, count).await?;
    check_eq!(other, "0", "the process, seen from the other,");
    let first = f.script(&two, "readlink /proc/1/ns/pid").await?;
    let host = std::fs::read_link("/proc/self/ns/pid")?;
    check!(first != host.display().to_string(), "the host's processes");
    Ok(())
}

async fn addresses_are_each_ones_own(f: &Fixture) -> Outcome {
    let (one, two) = pair(f).await?;
    check!(one.address.is_some(), "it has no address");
    check!(one.address != two.address, "both have {:?}", one.address);
    Ok(())
}

async fn rights_grow_only_where_they_may(f: &Fixture) -> Outcome {
    let look = "grep NoNewPrivs /proc/self/status";
    for (asked, expected) in [(true, "NoNewPrivs:\t1"), (false, "NoNewPrivs:\t0")] {
        let spec = ContainerSpec {
            entrypoint: Some(f.shell(&format!("{look}; exec sleep 600"))),
            command: Some(Vec::new()),
            no_new_privileges: Some(asked),
            ..ContainerSpec::default()
        };
        let container = f.launch_from(&f.base(), spec).await?;
        f.until_said(&container, expected).await?;
        let seen = f.script(&container, look).await?;
        check_eq!(
            seen.trim_end(),
            expected,
            "a further process, asked {asked}"
        );
    }
    Ok(())
}
