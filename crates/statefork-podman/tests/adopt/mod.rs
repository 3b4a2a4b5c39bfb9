//! Adopting containers that somebody made by hand, with whatever the service lets them ask for.

use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use statefork_podman::PodmanRuntime;
use statefork_runtime::{
    Adoption, Captures, ContainerId, Containers, EnvVar, ErrorKind, Images, Labels, LaunchRequest,
    Limits, Mount, MountSource, Network, Phases, Runtime,
};
use tokio::net::UnixStream;

use crate::{Archive, image_name, name, open};

/// A request to the service itself.
pub(crate) async fn ask(runtime: &PodmanRuntime, method: Method, path: &str, body: Value) -> Value {
    let endpoint = runtime.identify().await.unwrap().endpoint;
    let socket = endpoint.strip_prefix("unix://").unwrap();
    let stream = TokioIo::new(UnixStream::connect(socket).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(format!("/v4.3.1/libpod{path}"))
        .header("Host", "podman")
        .header("Content-Type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_slice(&body).unwrap_or_default()
}

/// Makes a container as somebody does by hand, and does not start it. The limits are those that
/// can be set on every machine.
async fn create(runtime: &PodmanRuntime, part: &str, image: &str, mut body: Value) -> ContainerId {
    body["name"] = json!(name(part));
    body["image"] = json!(image);
    let id = ask(runtime, Method::POST, "/containers/create", body).await;
    ContainerId::new(id["Id"].as_str().unwrap())
}

/// Limits that a launch would ask for, too.
async fn rlimits(runtime: &PodmanRuntime, part: &str, image: &str) -> Value {
    let from = runtime.inspect_image(image).await.unwrap().unwrap().id;
    let request = request(&format!("limits-{part}"), Default::default());
    let from = runtime.of_image(&from);
    let phases = Phases::new();
    let launched = runtime.launch(&from, &request, &phases).await.unwrap();
    let path = format!("/containers/{}/json", launched.id);
    let found = ask(runtime, Method::GET, &path, json!({})).await;
    runtime.remove(&launched.id).await.unwrap();
    let limits = found["HostConfig"]["Ulimits"].as_array().unwrap().iter();
    let limits = limits.map(|limit| {
        let name = limit["Name"]
            .as_str()
            .unwrap()
            .trim_start_matches("RLIMIT_");
        json!({ "type": name, "soft": limit["Soft"], "hard": limit["Hard"] })
    });
    limits.collect()
}

fn request(part: &str, spec: statefork_runtime::ContainerSpec) -> LaunchRequest {
    LaunchRequest {
        name: name(part),
        spec,
        labels: Labels::new(),
        publish: Vec::new(),
    }
}

async fn adopted(runtime: &PodmanRuntime, id: &ContainerId) -> Adoption {
    runtime.adopt(id).await.unwrap().expect("a container")
}

#[track_caller]
fn assert_names(adoption: &Adoption, expected: &[&str]) {
    let mut told = adoption.obstacles.clone();
    told.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_settings_can_say_is_no_obstacle() {
    let runtime = open();
    let base = image_name("adopt-plain");
    let mut archive = Archive::busybox();
    archive.add_layer("etc/passwd", "app:x:7:8::/home/app:/bin/sh\n");
    let image = archive.import(&runtime, &[&base]).await;
    let limits = rlimits(&runtime, "plain", &base).await;
    let plain = create(&runtime, "plain", &base, json!({ "r_limits": limits })).await;
    let adoption = adopted(&runtime, &plain).await;
    assert_names(&adoption, &[]);
    assert_eq!(adoption.spec, Default::default());
    assert_eq!(adoption.image_name.as_deref(), Some(&*base));
    assert_eq!(adoption.container.image, image);

    let body = json!({
        "r_limits": limits,
        "entrypoint": ["/bin/sh", "-c", "sleep  2000"],
        "command": ["a b"],
        "env": { "A": "own", "PATH": "/usr/bin:/bin", "TERM": "vt100" },
        "user": "app",
        "work_dir": "/bin",
        "hostname": "shop",
        "mounts": [{ "type": "bind", "source": "/tmp", "destination": "/host", "options": ["ro"] }],
        "resource_limits": {
            "memory": { "limit": 64 << 20 },
            "cpu": { "quota": 50_000, "period": 100_000 },
        },
        "portmappings": [
            { "container_port": 80, "host_ip": "127.0.0.1" },
            { "container_port": 81 },
        ],
    });
    let given = create(&runtime, "given", &base, body).await;
    let mut specs = Vec::new();
    for start in [false, true] {
        if start {
            runtime.start(&given).await.unwrap();
        }
        let adoption = adopted(&runtime, &given).await;
        assert_names(&adoption, &[]);
        let ports = adoption.published.iter();
        let ports: Vec<_> = ports
            .map(|port| (port.ip.to_string(), port.container))
            .collect();
        assert_eq!(ports, [("0.0.0.0".into(), 81), ("127.0.0.1".into(), 80)]);
        assert!(adoption.published.iter().all(|port| port.host != 0));
        specs.push(adoption.spec);
    }
    let mut spec = specs.remove(1);
    assert_eq!(spec, specs[0], "it is the same before and after the start");
    let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
    assert_eq!(spec.entrypoint, words(&["/bin/sh", "-c", "sleep  2000"]));
    assert_eq!(spec.command, words(&["a b"]));
    let variable = |name: &str, value: &str| EnvVar {
        name: name.into(),
        value: value.into(),
    };
    spec.env.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(
        spec.env,
        [
            variable("A", "own"),
            variable("PATH", "/usr/bin:/bin"),
            variable("TERM", "vt100"),
        ]
    );
    assert_eq!(spec.user.as_deref(), Some("app"));
    assert_eq!(spec.workdir, Some(PathBuf::from("/bin")));
    assert_eq!(spec.hostname.as_deref(), Some("shop"));
    let mount = Mount {
        source: MountSource::Bind("/tmp".into()),
        target: "/host".into(),
        read_only: true,
    };
    assert_eq!(spec.mounts, [mount]);
    let limits = Limits {
        memory: Some(64 << 20),
        cpus: Some(0.5),
    };
    assert_eq!(spec.limits, limits);
    for id in [plain, given] {
        runtime.remove(&id).await.unwrap();
    }
    runtime.remove_image(&base).await.unwrap();
}

#[tokio::test]
async fn what_settings_cannot_say_is_named() {
    let runtime = open();
    let base = image_name("adopt-hand");
    Archive::busybox().import(&runtime, &[&base]).await;
    let mut limits = rlimits(&runtime, "hand", &base).await;
    let usual = limits.clone();
    let core = json!({ "type": "CORE", "soft": 0, "hard": 0 });
    limits.as_array_mut().unwrap().push(core);
    let body = json!({
        "r_limits": limits,
        "cap_add": ["NET_ADMIN"],
        "cap_drop": ["CHOWN"],
        "devices": [{ "path": "/dev/null" }],
        "groups": ["5"],
        "pidns": { "nsmode": "host" },
        "utsns": { "nsmode": "host" },
        "no_new_privileges": true,
        "oom_score_adj": 10,
        "resource_limits": {
            "memory": { "limit": 64 << 20, "swap": 100 << 20, "reservation": 32 << 20 },
            "cpu": { "shares": 512, "cpus": "0" },
            "pids": { "limit": 100 },
        },
    });
    let id = create(&runtime, "rights", &base, body).await;
    assert_names(
        &adopted(&runtime, &id).await,
        &[
            "the added capability NET_ADMIN (--cap-add)",
            "the lack of capability CHOWN (--cap-drop)",
            "device /dev/null (--device)",
            "the further group 5 (--group-add)",
            "the shared process ids (--pid host)",
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
    runtime.remove(&id).await.unwrap();

    let body = json!({
        "r_limits": usual,
        "annotations": { "an": "no" },
        "dns_option": ["ndots:1"],
        "dns_search": ["s.example"],
        "dns_server": ["9.9.9.9"],
        "healthconfig": { "Test": ["CMD", "true"], "Interval": 1_000_000_000 },
        "hostadd": ["db:10.0.0.1"],
        "labels": { "a": "b" },
        "log_configuration": { "driver": "none" },
        "mounts": [{ "type": "tmpfs", "destination": "/tm", "options": ["noexec"] }],
        "portmappings": [{ "container_port": 53, "protocol": "udp", "host_ip": "127.0.0.1" }],
        "read_only_filesystem": true,
        "remove": true,
        "stdin": true,
        "stop_signal": 2,
        "stop_timeout": 3,
        "terminal": true,
        "timezone": "local",
        "umask": "0027",
    });
    let id = create(&runtime, "life", &base, body).await;
    assert_names(
        &adopted(&runtime, &id).await,
        &[
            "annotation an (--annotation)",
            "name server option ndots:1 (--dns-option)",
            "search domain s.example (--dns-search)",
            "name server 9.9.9.9 (--dns)",
            "the health check (--health-cmd and the like)",
            "host db:10.0.0.1 (--add-host)",
            "label a (--label)",
            "the place of its output (--log-driver none)",
            "option noexec of the memory at /tm (--tmpfs)",
            "port 53/udp (--publish)",
            "the read-only root file system (--read-only)",
            "the removal at its end (--rm)",
            "the open standard input (--interactive)",
            "the stop signal (--stop-signal INT)",
            "the time to stop (--stop-timeout=3)",
            "the terminal (--tty)",
            "the time zone (--tz local)",
            "the mask of modes (--umask 0027)",
        ],
    );
    runtime.remove(&id).await.unwrap();

    let body = json!({
        "r_limits": usual,
        "privileged": true,
        "restart_policy": "always",
        "shm_size": 1 << 20,
    });
    let id = create(&runtime, "privileged", &base, body).await;
    assert_names(
        &adopted(&runtime, &id).await,
        &[
            "all rights on the host (--privileged)",
            "the restart policy (--restart always)",
            "the size of /dev/shm (--shm-size=1048576)",
        ],
    );
    runtime.remove(&id).await.unwrap();
    runtime.remove_image(&base).await.unwrap();
}

#[tokio::test]
async fn a_network_that_somebody_made_is_joined_again() {
    let runtime = open();
    let base = image_name("adopt-network");
    let image = Archive::busybox().import(&runtime, &[&base]).await;
    let limits = rlimits(&runtime, "network", &base).await;
    let (one, two) = (name("one"), name("two"));
    for network in [&one, &two] {
        let body = json!({ "name": network });
        ask(&runtime, Method::POST, "/networks/create", body).await;
    }
    let body = json!({
        "r_limits": limits,
        "command": ["sleep", "1000"],
        "netns": { "nsmode": "bridge" },
        "Networks": { one.as_str(): { "aliases": ["db"] }, two.as_str(): {} },
    });
    let first = create(&runtime, "network-1", &base, body).await;
    runtime.start(&first).await.unwrap();
    let adoption = adopted(&runtime, &first).await;
    assert_eq!(adoption.spec.network, Network::Named(one.clone()));
    let own = &adoption.container.name;
    assert_names(
        &adoption,
        &[
            &format!("its name {own} on network {one} (--name)"),
            &format!("its name db on network {one} (--network-alias)"),
            &format!("the further network {two} (--network)"),
        ],
    );
    let mut request = request("network-2", adoption.spec);
    let from = runtime.of_image(&image);
    let phases = Phases::new();
    let second = runtime.launch(&from, &request, &phases).await.unwrap();
    let path = format!("/containers/{}/json", second.id);
    let found = ask(&runtime, Method::GET, &path, json!({})).await;
    let joined = &found["NetworkSettings"]["Networks"];
    assert_eq!(joined.as_object().unwrap().len(), 1, "{joined}");
    let address = second.address.unwrap().to_string();
    assert_eq!(joined[&one]["IPAddress"], address);
    let again = adopted(&runtime, &second.id).await;
    assert_eq!(again.spec, request.spec);

    for network in [name("no"), "container:x".into()] {
        request.name = name("network-3");
        request.spec.network = Network::Named(network.clone());
        let refused = runtime.launch(&from, &request, &phases).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{network}: {refused}");
        assert!(refused.to_string().contains(&network), "{refused}");
        let left = runtime.inspect(&ContainerId::new(&request.name)).await;
        assert_eq!(left.unwrap(), None, "{network}");
    }
    for id in [&first, &second.id] {
        runtime.remove(id).await.unwrap();
    }
    for network in [&one, &two] {
        let path = format!("/networks/{network}");
        ask(&runtime, Method::DELETE, &path, json!({})).await;
    }
    runtime.remove_image(&base).await.unwrap();
}

/// A volume without a name that Podman made is mounted again, and outlives the first container.
#[tokio::test]
async fn a_volume_without_a_name_is_shared_with_the_successor() {
    let runtime = open();
    let base = image_name("adopt-volume");
    let image = Archive::busybox().import(&runtime, &[&base]).await;
    let limits = rlimits(&runtime, "volume", &base).await;
    let body = json!({
        "r_limits": limits,
        "command": ["sleep", "1000"],
        "volumes": [{ "dest": "/data" }],
    });
    let first = create(&runtime, "volume-1", &base, body).await;
    runtime.start(&first).await.unwrap();
    let adoption = adopted(&runtime, &first).await;
    assert_names(&adoption, &[]);
    let [
        Mount {
            source: MountSource::Volume(volume),
            ..
        },
    ] = adoption.spec.mounts.as_slice()
    else {
        panic!("{:?}", adoption.spec.mounts);
    };
    let request = request("volume-2", adoption.spec.clone());
    let from = runtime.of_image(&image);
    let second = runtime
        .launch(&from, &request, &Phases::new())
        .await
        .unwrap();
    runtime.remove(&first).await.unwrap();
    let again = adopted(&runtime, &second.id).await;
    assert_eq!(again.spec.mounts, adoption.spec.mounts);
    let path = format!("/volumes/{volume}/json");
    ask(&runtime, Method::GET, &path, json!({})).await;
    runtime.remove(&second.id).await.unwrap();
    let all = ask(&runtime, Method::GET, "/volumes/json", json!({})).await;
    let kept = all
        .as_array()
        .unwrap()
        .iter()
        .any(|one| one["Name"] == volume.as_str());
    if kept {
        let path = format!("/volumes/{volume}");
        ask(&runtime, Method::DELETE, &path, json!({})).await;
    }
    runtime.remove_image(&base).await.unwrap();
    assert!(kept, "it went with the second");
}
