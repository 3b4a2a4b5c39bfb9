//! Adopting a container: the settings that it was made with.

use serde_json::json;
use statefork_runtime::{
    Adoption, Container, ContainerId, ContainerPort, ContainerSpec, EnvVar, Limits, Mount,
    MountSource, Network, Phases, PortMapping,
};

use crate::case::{Case, Failure, Outcome, cases, check, check_eq};
use crate::fixture::Fixture;
use crate::image::Draft;

pub(super) const CASES: &[Case] = cases![Adopt:
    all_settings_come_back,
    settings_of_the_image_are_none_of_the_container,
    settings_that_differ_from_the_images_come_back,
    an_exited_container_is_adopted_too,
    published_ports_are_told [Publish],
    an_absent_container_is_not_adopted,
    limits_come_back [Limits],
    networks_come_back [Programs],
];

async fn adopted(f: &Fixture, container: &Container) -> Outcome<Adoption> {
    let adoption = f.runtime().adopt(&container.id).await?;
    let adoption = adoption.ok_or_else(|| Failure::new("it is not there"))?;
    check_eq!(adoption.obstacles, [""; 0], "the obstacles");
    Ok(adoption)
}

/// Launches with settings and checks that just these come back.
async fn there_and_back(f: &Fixture, spec: ContainerSpec) -> Outcome {
    let container = f.launch_from(&f.base(), spec.clone()).await?;
    check_eq!(adopted(f, &container).await?.spec, spec, "its settings");
    Ok(())
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.into(),
        value: value.into(),
    }
}

async fn all_settings_come_back(f: &Fixture) -> Outcome {
    let folder = f.folder()?;
    let bind = |target: &str, read_only| Mount {
        source: MountSource::Bind(folder.clone()),
        target: target.into(),
        read_only,
    };
    let volume = Mount {
        source: MountSource::Volume("statefork-conformance".into()),
        target: "/mnt/c".into(),
        read_only: false,
    };
    let memory = |target: &str, size| Mount {
        source: MountSource::Tmpfs { size },
        target: target.into(),
        read_only: false,
    };
    let spec = ContainerSpec {
        entrypoint: Some(f.argv("serve")),
        command: Some(vec!["two words".into(), "".into(), "'q'".into()]),
        env: vec![
            variable("ADDED", "a b=c 'd' $e"),
            variable("EMPTY", ""),
            variable("HOME", "/elsewhere"),
        ],
        user: Some("nobody".into()),
        workdir: Some("/etc".into()),
        hostname: Some("shop-1".into()),
        mounts: vec![
            bind("/mnt/a", true),
            bind("/mnt/b", false),
            volume,
            memory("/mnt/d", None),
            memory("/mnt/e", Some(1 << 20)),
        ],
        no_new_privileges: Some(true),
        ..ContainerSpec::default()
    };
    let container = f.launch_from(&f.base(), spec.clone()).await?;
    let adoption = adopted(f, &container).await?;
    check_eq!(adoption.container, f.inspect(&container).await?, "it is");
    check_eq!(adoption.container.image, *f.image(), "its image");
    check_eq!(adoption.published, [], "its ports");
    let by_name = f
        .runtime()
        .adopt(&ContainerId::new(&container.name))
        .await?;
    let by_name = by_name.ok_or_else(|| Failure::new("it is not there by name"))?;
    check_eq!(by_name.container.id, container.id, "by name it is");
    check_eq!(shown(adoption.spec), shown(spec.clone()), "its settings");
    // The same again, from its own settings.
    let again = f.launch_from(&f.base(), by_name.spec).await?;
    let again = adopted(f, &again).await?;
    check_eq!(shown(again.spec), shown(spec), "its successor's");
    Ok(())
}

/// With the values of variables, and in an order.
fn shown(mut spec: ContainerSpec) -> (ContainerSpec, Vec<(String, String)>) {
    let variables = std::mem::take(&mut spec.env).into_iter();
    let mut variables: Vec<_> = variables.map(|var| (var.name, var.value)).collect();
    variables.sort();
    (spec, variables)
}

async fn settings_of_the_image_are_none_of_the_container(f: &Fixture) -> Outcome {
    let draft = Draft {
        config: json!({
            "Entrypoint": f.argv("serve"),
            "Cmd": ["image"],
            "Env": ["PATH=/bin", "FROM=image"],
            "User": "nobody",
            "WorkingDir": "/etc",
            "ExposedPorts": { "80/tcp": {}, "53/udp": {} },
            "StopSignal": "SIGTERM",
        }),
        ..Draft::default()
    };
    let (image, _) = f.import(draft).await?;
    let from = f.runtime().of_image(&image);
    let container = f.launch_from(&from, ContainerSpec::default()).await?;
    let adoption = adopted(f, &container).await?;
    check_eq!(adoption.spec, ContainerSpec::default(), "its settings");

    // What repeats the image is nothing of its own either.
    let spec = ContainerSpec {
        env: vec![variable("FROM", "image"), variable("OWN", "1")],
        user: Some("nobody".into()),
        workdir: Some("/etc".into()),
        ..ContainerSpec::default()
    };
    let container = f.launch_from(&from, spec).await?;
    let own = ContainerSpec {
        env: vec![variable("OWN", "1")],
        ..ContainerSpec::default()
    };
    check_eq!(adopted(f, &container).await?.spec, own, "its settings");
    Ok(())
}

async fn settings_that_differ_from_the_images_come_back(f: &Fixture) -> Outcome {
    let draft = Draft {
        config: json!({
            "Entrypoint": f.argv("serve"),
            "Cmd": ["image"],
            "Env": ["PATH=/bin", "FROM=image"],
            "User": "nobody",
            "WorkingDir": "/etc",
        }),
        ..Draft::default()
    };
    let (image, _) = f.import(draft).await?;
    let from = f.runtime().of_image(&image);
    for (what, spec) in [
        (
            "a command",
            ContainerSpec {
                command: Some(vec!["own".into()]),
                ..ContainerSpec::default()
            },
        ),
        (
            "no command",
            ContainerSpec {
                command: Some(Vec::new()),
                ..ContainerSpec::default()
            },
        ),
        (
            "an entry point",
            ContainerSpec {
                entrypoint: Some(f.argv("echo ; serve")),
                ..ContainerSpec::default()
            },
        ),
        (
            "another value, user and directory",
            ContainerSpec {
                env: vec![variable("FROM", "own")],
                user: Some("0:0".into()),
                workdir: Some("/".into()),
                ..ContainerSpec::default()
            },
        ),
    ] {
        let container = f.launch_from(&from, spec.clone()).await?;
        let adoption = adopted(f, &container).await?;
        check_eq!(shown(adoption.spec), shown(spec), "with {what}");
    }
    Ok(())
}

async fn an_exited_container_is_adopted_too(f: &Fixture) -> Outcome {
    let spec = f.spec("exit 3");
    let container = f.launch_from(&f.base(), spec.clone()).await?;
    check_eq!(f.exit(&container).await?, Some(3), "the exit code");
    let adoption = adopted(f, &container).await?;
    check_eq!(adoption.spec, spec, "its settings");
    let now = f.inspect(&container).await?;
    check_eq!(adoption.container, now, "it is as it was");
    check_eq!(f.exit(&container).await?, Some(3), "the exit code is still");
    Ok(())
}

async fn published_ports_are_told(f: &Fixture) -> Outcome {
    let mut request = f.launch_request(f.spec("serve"));
    request.publish = vec![ContainerPort::tcp(8001), ContainerPort::tcp(8000)];
    let container = f
        .runtime()
        .launch(&f.base(), &request, &Phases::new())
        .await?;
    let mut expected: Vec<PortMapping> = container
        .published
        .iter()
        .map(|(port, address)| PortMapping {
            ip: address.ip(),
            host: address.port(),
            container: port.port,
        })
        .collect();
    expected.sort();
    check_eq!(expected.len(), 2, "the number of ports");
    let adoption = adopted(f, &container).await?;
    check_eq!(adoption.published, expected, "while it runs");

    f.runtime().kill(&container.id).await?;
    let adoption = adopted(f, &container).await?;
    let ports: Vec<u16> = adoption.published.iter().map(|p| p.container).collect();
    check!(
        ports.contains(&8000) && ports.contains(&8001) && ports.len() == 2,
        "afterwards they are {ports:?}"
    );
    Ok(())
}

async fn an_absent_container_is_not_adopted(f: &Fixture) -> Outcome {
    let absent = ContainerId::new(f.absent());
    check_eq!(f.runtime().adopt(&absent).await?, None, "it is");
    Ok(())
}

async fn limits_come_back(f: &Fixture) -> Outcome {
    for (memory, cpus) in [
        (Some(64 << 20), None),
        (None, Some(1.5)),
        (Some(64 << 20), Some(0.2)),
    ] {
        let spec = ContainerSpec {
            limits: Limits { memory, cpus },
            ..f.spec("echo ; serve")
        };
        there_and_back(f, spec).await?;
    }
    Ok(())
}

async fn networks_come_back(f: &Fixture) -> Outcome {
    for network in [Network::None, Network::Host] {
        let spec = ContainerSpec {
            network,
            ..f.spec("echo ; serve")
        };
        there_and_back(f, spec).await?;
    }
    Ok(())
}
