//! Podman's bridges change their hardware address as containers come and go.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::json;
use statefork_runtime::{
    Capture, Container, ContainerSpec, Containers, Images, Labels, LaunchRequest, Network, Phases,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::adopt::ask;
use super::{Archive, Captures, PodmanRuntime, image_name, name, open};

/// Answers a line two seconds later.
const LATE: &str =
    "while nc -l -p 8000 -e sh -c 'read line; sleep 2; echo answered'; do true; done";
/// Which of two random addresses is the lower one is a matter of chance.
const ATTEMPTS: usize = 40;

struct Bridge {
    runtime: PodmanRuntime,
    capture: Capture,
    network: String,
    interface: String,
}

impl Bridge {
    fn address(&self) -> String {
        std::fs::read_to_string(format!("/sys/class/net/{}/address", self.interface)).unwrap()
    }

    async fn launch(&self, part: &str, script: &str) -> Container {
        let request = LaunchRequest {
            name: name(part),
            spec: ContainerSpec {
                command: Some(["sh", "-c", script].map(str::to_owned).into()),
                network: Network::Named(self.network.clone()),
                ..ContainerSpec::default()
            },
            labels: Labels::new(),
            publish: Vec::new(),
        };
        let phases = Phases::new();
        let launched = self.runtime.launch(&self.capture, &request, &phases);
        launched.await.unwrap()
    }

    async fn remove(&self, container: &Container) {
        self.runtime.remove(&container.id).await.unwrap();
    }

    /// How long an answer took between whose request and itself the address changed.
    async fn late_answer(&self) -> Duration {
        for _ in 0..ATTEMPTS {
            let server = self.launch("bridge-server", LATE).await;
            let before = self.address();
            let passing = self.launch("bridge-passing", "sleep 1000").await;
            let asked = match self.address() == before {
                true => None,
                false => Some((request(&server).await, Instant::now())),
            };
            self.remove(&passing).await;
            let answered = match asked {
                Some((mut connection, begun)) => {
                    let mut answer = String::new();
                    connection.read_to_string(&mut answer).await.unwrap();
                    assert_eq!(answer, "answered\n");
                    Some(begun.elapsed())
                }
                None => None,
            };
            self.remove(&server).await;
            if let Some(after) = answered {
                return after;
            }
        }
        panic!("the address does not change");
    }
}

/// A connection with a request that is answered later.
async fn request(server: &Container) -> TcpStream {
    let address = SocketAddr::new(server.address.unwrap(), 8000);
    let mut connection = loop {
        match TcpStream::connect(address).await {
            Ok(connection) => break connection,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    connection.write_all(b"please\n").await.unwrap();
    connection
}

#[tokio::test]
async fn an_answer_comes_although_the_address_has_changed_since_the_request() {
    let runtime = open();
    let image_name = image_name("bridge");
    let image = Archive::busybox().import(&runtime, &[&image_name]).await;
    let network = name("bridge");
    let made = json!({ "name": network });
    let made = ask(&runtime, Method::POST, "/networks/create", made).await;
    let bridge = Bridge {
        capture: runtime.of_image(&image),
        interface: made["network_interface"].as_str().unwrap().to_owned(),
        network,
        runtime,
    };
    let answered = tokio::time::timeout(Duration::from_secs(50), bridge.late_answer()).await;
    bridge.runtime.remove_image(&image_name).await.unwrap();
    let path = format!("/networks/{}?force=true", bridge.network);
    ask(&bridge.runtime, Method::DELETE, &path, json!(null)).await;
    let after = answered.unwrap();
    assert!(after < Duration::from_secs(6), "{after:?}");
}
