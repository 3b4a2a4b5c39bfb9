//! Settings of a container.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use statefork_runtime::{
    Capture, Container, ContainerPort, ContainerSpec, EnvVar, Limits, Network, Phase, Phases,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::case::{Case, Failure, Outcome, cases, check, check_eq};
use crate::fixture::Fixture;
use crate::image::Draft;

pub(super) const CASES: &[Case] = cases![Spec:
    without_settings_the_image_decides,
    the_command_replaces_the_images,
    the_entrypoint_replaces_the_images,
    variables_are_added_by_name,
    the_user_is_a_name_or_a_number,
    the_working_directory_is_set,
    the_hostname_is_set,
    a_published_port_is_each_ones_own [Publish],
    a_published_port_leads_to_the_program [Programs, Publish],
    the_own_address_leads_to_the_program [Reachable, Programs],
    without_network_there_is_only_loopback [Programs],
    the_hosts_network_is_the_hosts [Programs],
    a_memory_limit_is_kept [Limits, Programs],
    a_processor_limit_is_kept [Limits, Programs],
    launch_records_its_phases,
];

const PORT: u16 = 8000;
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// An image whose settings all differ from the defaults.
async fn opinionated(f: &Fixture) -> Outcome<Capture> {
    let draft = Draft {
        config: json!({
            "Entrypoint": ["echo"],
            "Cmd": ["image"],
            "Env": ["PATH=/bin", "FROM=image"],
            "User": "nobody",
            "WorkingDir": "/etc",
        }),
        ..Draft::default()
    };
    let (image, _) = f.import(draft).await?;
    Ok(f.runtime().of_image(&image))
}

fn words(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|&word| word.to_owned()).collect())
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.into(),
        value: value.into(),
    }
}

/// What a container says that ends by itself.
async fn said(f: &Fixture, capture: &Capture, spec: ContainerSpec) -> Outcome<String> {
    let container = f.launch_from(capture, spec).await?;
    check_eq!(f.exit(&container).await?, Some(0), "the exit code");
    Ok(f.logs(&container).await?.0)
}

async fn without_settings_the_image_decides(f: &Fixture) -> Outcome {
    let image = opinionated(f).await?;
    let out = said(f, &image, ContainerSpec::default()).await?;
    check_eq!(out, "image", "its command said");
    let spec = ContainerSpec {
        entrypoint: Some(f.argv("printenv FROM ; id -u ; pwd")),
        ..ContainerSpec::default()
    };
    let out = said(f, &image, spec).await?;
    check_eq!(out, "image\n65534\n/etc", "variable, user, directory");
    Ok(())
}

async fn the_command_replaces_the_images(f: &Fixture) -> Outcome {
    let image = opinionated(f).await?;
    let spec = ContainerSpec {
        command: words(&["own", "words"]),
        ..ContainerSpec::default()
    };
    check_eq!(said(f, &image, spec).await?, "own words", "it said");
    Ok(())
}

async fn the_entrypoint_replaces_the_images(f: &Fixture) -> Outcome {
    let image = opinionated(f).await?;
    let spec = ContainerSpec {
        entrypoint: words(&["cat"]),
        command: words(&["/etc/motd"]),
        ..ContainerSpec::default()
    };
    check_eq!(said(f, &image, spec).await?, "welcome", "it said");
    Ok(())
}

async fn variables_are_added_by_name(f: &Fixture) -> Outcome {
    let spec = ContainerSpec {
        env: vec![variable("ADDED", "a b=c 'd' $e"), variable("EMPTY", "")],
        ..f.spec("printenv ADDED ; printenv BASE ; printenv EMPTY ; serve")
    };
    let container = f.launch_from(&f.base(), spec).await?;
    f.until_said(&container, "serving").await?;
    let (out, _) = f.logs(&container).await?;
    check_eq!(out, "a b=c 'd' $e\nbase\n\nserving", "process 1 said");
    let out = f.told(&container, "printenv ADDED ; printenv BASE").await?;
    check_eq!(out, "a b=c 'd' $e\nbase", "a further command said");

    let spec = ContainerSpec {
        env: vec![variable("BASE", "own")],
        ..f.spec("printenv BASE")
    };
    check_eq!(said(f, &f.base(), spec).await?, "own", "a replaced one is");
    Ok(())
}

async fn the_user_is_a_name_or_a_number(f: &Fixture) -> Outcome {
    for (user, uid) in [("1000", "1000"), ("nobody", "65534"), ("1000:1000", "1000")] {
        let spec = ContainerSpec {
            user: Some(user.into()),
            ..f.spec("id -u")
        };
        check_eq!(said(f, &f.base(), spec).await?, uid, "user {user}");
    }
    Ok(())
}

async fn the_working_directory_is_set(f: &Fixture) -> Outcome {
    let spec = ContainerSpec {
        workdir: Some("/etc".into()),
        ..f.spec("pwd ; serve")
    };
    let container = f.launch_from(&f.base(), spec).await?;
    f.until_said(&container, "/etc").await?;
    let further = f.told(&container, "pwd").await?;
    check_eq!(further, "/etc", "a further command's");
    Ok(())
}

async fn the_hostname_is_set(f: &Fixture) -> Outcome {
    let spec = ContainerSpec {
        hostname: Some("fork-1".into()),
        ..f.spec("hostname")
    };
    check_eq!(said(f, &f.base(), spec).await?, "fork-1", "it is");
    let own = said(f, &f.base(), f.spec("hostname")).await?;
    check!(!own.is_empty(), "without a setting it is empty");
    Ok(())
}

async fn published(f: &Fixture, spec: ContainerSpec) -> Outcome<(Container, SocketAddr)> {
    let mut request = f.launch_request(spec);
    request.publish = vec![ContainerPort::tcp(PORT)];
    let container = f
        .runtime()
        .launch(&f.base(), &request, &Phases::new())
        .await?;
    match container.published.as_slice() {
        [(port, address)] if *port == ContainerPort::tcp(PORT) && address.ip().is_loopback() => {
            let address = *address;
            Ok((container, address))
        }
        other => Err(Failure::new(format!("published is {other:?}"))),
    }
}

async fn connects(address: SocketAddr) -> bool {
    let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
    matches!(connected, Ok(Ok(_)))
}

async fn a_published_port_is_each_ones_own(f: &Fixture) -> Outcome {
    let (first, one) = published(f, f.spec("serve")).await?;
    let (_, two) = published(f, f.spec("serve")).await?;
    check!(one != two, "two containers have the same port {one}");
    f.runtime().remove(&first.id).await?;
    check!(!connects(one).await, "somebody accepts at {one} afterwards");
    Ok(())
}

/// Asks the web server of a container for `/motd`.
async fn fetch(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /motd HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn until_served(f: &Fixture, address: SocketAddr) -> Outcome {
    f.until("the answer of the program", async || {
        let answer = tokio::time::timeout(CONNECT_LIMIT, fetch(address)).await;
        Ok(match answer {
            Ok(Ok(answer)) if answer.ends_with("welcome\n") => Some(()),
            _ => None,
        })
    })
    .await
}

fn web_server(f: &Fixture) -> ContainerSpec {
    ContainerSpec {
        command: Some(f.shell(&format!("exec httpd -f -p {PORT} -h /etc"))),
        ..ContainerSpec::default()
    }
}

async fn a_published_port_leads_to_the_program(f: &Fixture) -> Outcome {
    let (_, address) = published(f, web_server(f)).await?;
    until_served(f, address).await
}

async fn the_own_address_leads_to_the_program(f: &Fixture) -> Outcome {
    let container = f.launch_from(&f.base(), web_server(f)).await?;
    let Some(ip) = container.address else {
        return Err(Failure::new("it has no address"));
    };
    until_served(f, SocketAddr::new(ip, PORT)).await
}

async fn without_network_there_is_only_loopback(f: &Fixture) -> Outcome {
    let spec = ContainerSpec {
        network: Network::None,
        ..f.spec("serve")
    };
    let container = f.launch_from(&f.base(), spec).await?;
    check_eq!(container.address, None, "its address");
    let shown = f
        .script(&container, "ip -o link | grep -c UP,LOWER_UP")
        .await?;
    check_eq!(shown, "1", "the number of its interfaces that are up");
    Ok(())
}

async fn the_hosts_network_is_the_hosts(f: &Fixture) -> Outcome {
    let spec = ContainerSpec {
        network: Network::Host,
        ..f.spec("serve")
    };
    let container = f.launch_from(&f.base(), spec).await?;
    check_eq!(container.address, None, "its address");
    let inside = f.script(&container, "readlink /proc/self/ns/net").await?;
    let outside = std::fs::read_link("/proc/self/ns/net")?;
    check_eq!(inside, outside.display().to_string(), "its namespace");
    Ok(())
}

async fn a_memory_limit_is_kept(f: &Fixture) -> Outcome {
    let spec = ContainerSpec {
        // Keeps what has no line end in memory.
        command: Some(f.shell("exec tail /dev/zero")),
        limits: Limits {
            memory: Some(32 << 20),
            cpus: None,
        },
        ..ContainerSpec::default()
    };
    let container = f.launch_from(&f.base(), spec).await?;
    check_eq!(f.exit(&container).await?, Some(137), "the exit code");
    Ok(())
}

async fn a_processor_limit_is_kept(f: &Fixture) -> Outcome {
    let spec = ContainerSpec {
        limits: Limits {
            memory: None,
            cpus: Some(0.2),
        },
        ..f.spec("serve")
    };
    let container = f.launch_from(&f.base(), spec).await?;
    // Processor time that a loop of one second got, in ticks of 10 ms.
    let script = "(while :; do :; done) & sleep 1; cut -d' ' -f14 /proc/$!/stat; kill $!";
    let ticks = f.script(&container, script).await?;
    let ticks: u32 = ticks
        .parse()
        .map_err(|_| Failure::new(format!("not a number: {ticks:?}")))?;
    check!(ticks < 50, "a fifth of a second is {ticks} ticks");
    Ok(())
}

async fn launch_records_its_phases(f: &Fixture) -> Outcome {
    let phases = Phases::new();
    let request = f.launch_request(f.spec("serve"));
    f.runtime().launch(&f.base(), &request, &phases).await?;
    let recorded: Vec<Phase> = phases.snapshot().iter().map(|(phase, _)| *phase).collect();
    check_eq!(recorded, [Phase::Create, Phase::Start], "they are");
    Ok(())
}
