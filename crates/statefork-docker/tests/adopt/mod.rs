//! Adopting containers that somebody made by hand, with whatever the daemon lets them ask for.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use statefork_runtime::{
    Adoption, Captures, ContainerId, Containers, EnvVar, ErrorKind, Images, LaunchRequest, Limits,
    Mount, MountSource, Network, Phases,
};

use crate::Outcome;
use crate::fixture::Fixture;

async fn adopted(f: &Fixture, id: &ContainerId) -> Result<Adoption, Box<dyn std::error::Error>> {
    Ok(f.docker.adopt(id).await?.ok_or("no container")?)
}

#[track_caller]
fn assert_names(adoption: &Adoption, expected: &[&str]) {
    let mut told = adoption.obstacles.clone();
    told.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(told, expected);
}

/// `docker run -d IMAGE`, with nothing else, and with what a restore keeps.
#[tokio::test]
async fn what_settings_can_say_is_no_obstacle() -> Outcome {
    let f = Fixture::new().await?;
    let config = json!({ "Cmd": ["/bin/sleep", "1000"], "Env": ["A=image", "B=image"] });
    let image = f.import(&f.name("base"), &config, 0).await?;
    let plain = f
        .create("plain", json!({ "Image": f.name("base") }))
        .await?;
    let adoption = adopted(&f, &plain).await?;
    assert_names(&adoption, &[]);
    assert_eq!(adoption.spec, Default::default());
    assert_eq!(adoption.image_name, Some(f.name("base")));
    assert_eq!(adoption.container.image, image);
    assert_eq!(adoption.published, []);

    let body = json!({
        "Image": f.name("base"),
        "Entrypoint": ["/bin/sleep"],
        "Cmd": ["2000"],
        "Env": ["A=own", "C="],
        "User": "7:8",
        "WorkingDir": "/bin",
        "Hostname": "shop",
        "ExposedPorts": { "80/tcp": {}, "81/tcp": {} },
        "HostConfig": {
            "Binds": ["/tmp:/host:ro"],
            "Mounts": [{ "Type": "bind", "Source": "/tmp", "Target": "/again" }],
            "Memory": 64 << 20,
            "NanoCpus": 500_000_000,
            "PortBindings": {
                "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "0" }],
                "81/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "0" }],
            },
        },
    });
    let given = f.create("given", body).await?;
    let asked = adopted(&f, &given).await?;
    let shown: Vec<_> = asked.published.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["0.0.0.0:0:81", "127.0.0.1:0:80"]);
    f.docker.start(&given).await?;
    let adoption = adopted(&f, &given).await?;
    assert_names(&adoption, &[]);
    let spec = &adoption.spec;
    assert_eq!(spec.entrypoint, Some(vec!["/bin/sleep".into()]));
    assert_eq!(spec.command, Some(vec!["2000".into()]));
    let variable = |name: &str, value: &str| EnvVar {
        name: name.into(),
        value: value.into(),
    };
    assert_eq!(spec.env, [variable("A", "own"), variable("C", "")]);
    assert_eq!(spec.user.as_deref(), Some("7:8"));
    assert_eq!(spec.workdir, Some(PathBuf::from("/bin")));
    assert_eq!(spec.hostname.as_deref(), Some("shop"));
    let bind = |target: &str, read_only| Mount {
        source: MountSource::Bind("/tmp".into()),
        target: target.into(),
        read_only,
    };
    assert_eq!(spec.mounts, [bind("/again", false), bind("/host", true)]);
    let limits = Limits {
        memory: Some(64 << 20),
        cpus: Some(0.5),
    };
    assert_eq!(spec.limits, limits);
    let ports: Vec<_> = adoption
        .published
        .iter()
        .map(|port| port.container)
        .collect();
    assert_eq!(ports, [81, 80]);
    assert!(adoption.published.iter().all(|port| port.host != 0));
    for id in [plain, given] {
        f.docker.remove(&id).await?;
    }
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}

#[tokio::test]
async fn what_settings_cannot_say_is_named() -> Outcome {
    let f = Fixture::new().await?;
    let config =
        json!({ "Cmd": ["/bin/sleep", "1000"], "Env": ["B=image"], "Labels": { "i": "1" } });
    f.import(&f.name("base"), &config, 0).await?;
    let host = json!({
        "CapAdd": ["NET_ADMIN"],
        "CapDrop": ["CHOWN"],
        "CpuShares": 512,
        "CpusetCpus": "0",
        "Devices": [{ "PathOnHost": "/dev/null", "PathInContainer": "/dev/x" }],
        "DeviceCgroupRules": ["c 1:3 r"],
        "GroupAdd": ["5"],
        "IpcMode": "host",
        "Memory": 64 << 20,
        "MemoryReservation": 32 << 20,
        "MemorySwap": 100 << 20,
        "OomScoreAdj": 10,
        "PidMode": "host",
        "PidsLimit": 100,
        "SecurityOpt": ["no-new-privileges", "seccomp=unconfined"],
        "Sysctls": { "net.ipv4.ip_unprivileged_port_start": "0" },
        "UTSMode": "host",
        "Ulimits": [{ "Name": "core", "Soft": 0, "Hard": 0 }],
    });
    let body = json!({ "Image": f.name("base"), "HostConfig": host });
    let id = f.create("rights", body).await?;
    assert_names(
        &adopted(&f, &id).await?,
        &[
            "the added capability NET_ADMIN (--cap-add)",
            "the lack of capability CHOWN (--cap-drop)",
            "device /dev/null (--device)",
            "the rule \"c 1:3 r\" for devices (--device-cgroup-rule)",
            "the further group 5 (--group-add)",
            "security option seccomp=unconfined (--security-opt)",
            "kernel parameter net.ipv4.ip_unprivileged_port_start (--sysctl)",
            "the shared process ids (--pid host)",
            "the other interprocess communication (--ipc host)",
            "the shared host name (--uts host)",
            "the limit core=0:0 (--ulimit)",
            "the limit on swap (--memory-swap=104857600)",
            "the soft limit on memory (--memory-reservation=33554432)",
            "the limit on processes (--pids-limit=100)",
            "the weight of processors (--cpu-shares=512)",
            "the choice of processors (--cpuset-cpus 0)",
            "the rank in lack of memory (--oom-score-adj=10)",
        ],
    );
    f.docker.remove(&id).await?;

    let host = json!({
        "AutoRemove": true,
        "Dns": ["9.9.9.9"],
        "DnsOptions": ["ndots:1"],
        "DnsSearch": ["s.example"],
        "ExtraHosts": ["db:10.0.0.1"],
        "Init": true,
        "LogConfig": { "Type": "none" },
        "Mounts": [{ "Type": "tmpfs", "Target": "/tm2", "TmpfsOptions": { "Mode": 0o700 } }],
        "PortBindings": { "53/udp": [{ "HostIp": "127.0.0.1", "HostPort": "0" }] },
        "ReadonlyRootfs": true,
        "Tmpfs": { "/tm": "size=1m,uid=5" },
    });
    let body = json!({
        "Image": f.name("base"),
        "Env": ["B"],
        "Labels": { "a": "b" },
        "Tty": true,
        "OpenStdin": true,
        "StopSignal": "SIGUSR1",
        "StopTimeout": 3,
        "Healthcheck": { "Test": ["CMD", "true"] },
        "HostConfig": host,
    });
    let id = f.create("life", body).await?;
    assert_names(
        &adopted(&f, &id).await?,
        &[
            "the removal at its end (--rm)",
            "the health check (--health-cmd and the like)",
            "the stop signal (--stop-signal SIGUSR1)",
            "the time to stop (--stop-timeout=3)",
            "the terminal (--tty)",
            "the open standard input (--interactive)",
            "the place of its output (--log-driver none)",
            "the lack of variable B (--env B)",
            "label a (--label)",
            "the read-only root file system (--read-only)",
            "option uid=5 of the memory at /tm (--tmpfs)",
            "the mode of the memory at /tm2 (--mount tmpfs-mode=700)",
            "host db:10.0.0.1 (--add-host)",
            "name server 9.9.9.9 (--dns)",
            "search domain s.example (--dns-search)",
            "name server option ndots:1 (--dns-option)",
            "port 53/udp (--publish)",
        ],
    );
    f.docker.remove(&id).await?;

    let body = json!({
        "Image": f.name("base"),
        "Domainname": "shop.example",
        "HostConfig": {
            "Privileged": true,
            "RestartPolicy": { "Name": "always" },
            "ShmSize": 1 << 20,
            "IpcMode": "shareable",
            "Binds": ["/tmp:/host:rslave"],
        },
    });
    let id = f.create("privileged", body).await?;
    assert_names(
        &adopted(&f, &id).await?,
        &[
            "all rights on the host (--privileged)",
            "the restart policy (--restart always)",
            "the size of /dev/shm (--shm-size=1048576)",
            "the other interprocess communication (--ipc shareable)",
            "propagation rslave of mount /host (--volume)",
            "the domain name (--domainname shop.example)",
        ],
    );
    f.docker.remove(&id).await?;
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}

/// A volume without a name that the daemon made is mounted again, and outlives the first container.
#[tokio::test]
async fn a_volume_without_a_name_is_shared_with_the_successor() -> Outcome {
    let f = Fixture::new().await?;
    let config = json!({ "Cmd": ["/bin/sleep", "1000"], "Volumes": { "/data": {} } });
    let image = f.import(&f.name("base"), &config, 0).await?;
    let first = f
        .create("first", json!({ "Image": f.name("base") }))
        .await?;
    f.docker.start(&first).await?;
    let volume = f.volume_of(&first).await?;
    let adoption = adopted(&f, &first).await?;
    assert_names(&adoption, &[]);
    let mount = Mount {
        source: MountSource::Volume(volume.clone()),
        target: "/data".into(),
        read_only: false,
    };
    assert_eq!(adoption.spec.mounts, [mount]);
    let request = LaunchRequest {
        spec: adoption.spec,
        ..f.request("second")
    };
    let from = f.docker.of_image(&image);
    let second = f.docker.launch(&from, &request, &Phases::new()).await?;
    f.docker.remove(&first).await?;
    assert_eq!(f.volume_of(&second.id).await?, volume);
    f.docker.remove(&second.id).await?;
    assert!(f.has_volume(&volume).await?, "it went with the second");
    f.remove_volume(&volume).await?;
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}

#[tokio::test]
async fn a_network_that_somebody_made_is_joined_again() -> Outcome {
    let f = Fixture::new().await?;
    let config = json!({ "Cmd": ["/bin/sleep", "1000"] });
    let image = f.import(&f.name("base"), &config, 0).await?;
    let (one, two) = (format!("{}-one", f.home), format!("{}-two", f.home));
    for network in [&one, &two] {
        f.create_network(network).await?;
    }
    let body = json!({
        "Image": f.name("base"),
        "HostConfig": { "NetworkMode": one },
        "NetworkingConfig": { "EndpointsConfig": { one.as_str(): { "Aliases": ["db"] } } },
    });
    let first = f.create("first", body).await?;
    f.docker.start(&first).await?;
    f.connect(&two, &first).await?;
    let adoption = adopted(&f, &first).await?;
    assert_eq!(adoption.spec.network, Network::Named(one.clone()));
    let name = &adoption.container.name;
    assert_names(
        &adoption,
        &[
            &format!("its name {name} on network {one} (--name)"),
            &format!("its name db on network {one} (--network-alias)"),
            &format!("the further network {two} (--network)"),
        ],
    );
    let mut request = LaunchRequest {
        spec: adoption.spec,
        ..f.request("second")
    };
    let from = f.docker.of_image(&image);
    let second = f.docker.launch(&from, &request, &Phases::new()).await?;
    let address = second.address.ok_or("no address")?;
    assert_eq!(f.address_on(&one, &second.id).await?, address.to_string());
    let again = adopted(&f, &second.id).await?;
    assert_eq!(again.spec, request.spec);

    for network in [
        format!("{}-no", f.home),
        "bridge".into(),
        "container:x".into(),
    ] {
        request.name = format!("{}-third", f.home);
        request.spec.network = Network::Named(network.clone());
        let refused = f.docker.launch(&from, &request, &Phases::new()).await;
        let refused = refused.expect_err("a network that does not exist");
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{network}: {refused}");
        assert!(refused.to_string().contains(&network), "{refused}");
        let left = f.docker.inspect(&ContainerId::new(&request.name)).await?;
        assert_eq!(left, None, "{network}");
    }
    for id in [&first, &second.id] {
        f.docker.stop(id, Duration::ZERO).await?;
        f.docker.remove(id).await?;
    }
    for network in [&one, &two] {
        f.remove_network(network).await?;
    }
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}
