//! What a person and a client of the application wait for besides the runtime: the start of the
//! program, a long list, a request through the forwarder.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use statefork_benches::{Pairs, program};
use statefork_conformance::FakeRuntime;
use statefork_core::config::{Hooks, MachineId, Standby};
use statefork_core::environment::{Cancel, ImageRequest, Observer, Options, Requested, UpRequest};
use statefork_core::{Environment, Home};
use statefork_runtime::{ContainerSpec, ImageConfig};
use statefork_shim::Shim;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How many snapshots the long list has.
const SNAPSHOTS: i64 = 10_000;
/// The answer of a small request.
const MESSAGE: [u8; 64] = [b'x'; 64];

fn starting(criterion: &mut Criterion) {
    let statefork = program("statefork").expect("the program is built");
    let home = tempfile::tempdir().expect("a folder");
    fill(home.path()).expect("a home with many snapshots");
    let mut group = criterion.benchmark_group("program");
    group.sampling_mode(SamplingMode::Flat);
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    group.bench_function("version", |bencher| {
        bencher.iter(|| run(Command::new(&statefork).arg("--version")).expect("it runs"));
    });
    for name in ["list", "tree"] {
        group.bench_function(format!("{name} 10000 snapshots"), |bencher| {
            bencher.iter(|| {
                let mut command = Command::new(&statefork);
                command.current_dir(home.path());
                command.args(["--home", "home", "-r", "docker", "-e", "long", name]);
                run(&mut command).expect("it runs")
            });
        });
    }
    group.finish();
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

struct Quiet;

impl Observer for Quiet {
    fn progress(&self, _: &str) {}
    fn build_output(&self, _: &str) {}
    fn notice(&self, _: &str) {}
}

/// A home whose environment has many snapshots: made in memory, then copied in the store, since
/// taking them one by one would take a daemon and a quarter of an hour.
fn fill(folder: &Path) -> Result<()> {
    let path = folder.join("home");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let fake = FakeRuntime::new();
    let config = ImageConfig {
        command: vec!["serve".to_owned()],
        ..ImageConfig::default()
    };
    fake.add_image("localhost/app:1", config, &[]);
    let options = Options {
        programs: None,
        standby_memory: None,
        freeze_timeout: Duration::from_secs(30),
        lock_timeout: Duration::from_secs(10),
        stop_timeout: Duration::ZERO,
        builders: Vec::new(),
        cancel: Cancel::new(),
        observer: Arc::new(Quiet),
    };
    let home = Arc::new(Home::open(&path)?);
    let environment = Environment::new(home, Arc::new(fake), "long", None, options)?;
    let request = UpRequest {
        application: Some(Requested {
            image: Some(ImageRequest::Name("localhost/app:1".to_owned())),
            spec: ContainerSpec::default(),
            ports: Vec::new(),
            readiness: None,
            hooks: Hooks::default(),
            machine_id: MachineId::Image,
        }),
        recreate: false,
        standby: Some(Standby::NONE),
    };
    runtime.block_on(environment.up(&request))?;
    let store = rusqlite::Connection::open(path.join("store.sqlite"))?;
    store.execute("UPDATE environments SET runtime = 'docker'", ())?;
    store.execute(
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO snapshots (position, environment, id, parent, kind, message, created_at,
                                size_bytes, spec, not_held, capture, labels)
         SELECT i, environment, printf('%012x', i), i - 1, kind, 'snapshot ' || i, created_at,
                size_bytes, spec, not_held, capture, labels
         FROM n, snapshots WHERE position = 1",
        [SNAPSHOTS],
    )?;
    store.execute("UPDATE branches SET head = ?1", [SNAPSHOTS])?;
    Ok(())
}

fn forwarder(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("an async runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let (direct, forwarded, shim) = runtime
        .block_on(forward(&folder.path().join("shim")))
        .expect("the forwarder runs");
    let mut group = criterion.benchmark_group("forwarder");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    let mut table = Vec::new();
    for (name, keep) in [("request", true), ("connection", false)] {
        let mut pairs = Pairs::default();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let work = requests(iterations, keep, direct, forwarded, &mut pairs);
                runtime.block_on(work).expect("requests are answered")
            });
        });
        table.push(format!("{name:10} | {pairs}"));
    }
    group.finish();
    runtime
        .block_on(shim.shutdown())
        .expect("the forwarder ends");
    println!("\nthrough | n | forwarded ms | direct ms | difference ms: median (min to max)");
    for row in table {
        println!("{row}");
    }
}

/// A server, and a shim that leads to it.
async fn forward(dir: &Path) -> Result<(SocketAddr, SocketAddr, Shim)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let direct = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = MESSAGE;
                // Ends with the client.
                while stream.read_exact(&mut bytes).await.is_ok() {
                    if stream.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    let mut shim = Shim::ensure(&program("statefork-shim")?, dir).await?;
    let ports = shim.listen(&["8000".parse()?]).await?;
    shim.target(&BTreeMap::from([(8000, direct)])).await?;
    Ok((
        direct,
        ports.first().context("a port")?.host_address(),
        shim,
    ))
}

async fn requests(
    iterations: u64,
    keep: bool,
    direct: SocketAddr,
    forwarded: SocketAddr,
    pairs: &mut Pairs,
) -> Result<Duration> {
    let mut kept = match keep {
        true => Some((connect(direct).await?, connect(forwarded).await?)),
        false => None,
    };
    let mut total = Duration::ZERO;
    for _ in 0..iterations {
        let (one, other) = match &mut kept {
            Some((direct, forwarded)) => {
                let begun = Instant::now();
                exchange(forwarded).await?;
                let one = begun.elapsed();
                let begun = Instant::now();
                exchange(direct).await?;
                (one, begun.elapsed())
            }
            None => {
                let begun = Instant::now();
                exchange(&mut connect(forwarded).await?).await?;
                let one = begun.elapsed();
                let begun = Instant::now();
                exchange(&mut connect(direct).await?).await?;
                (one, begun.elapsed())
            }
        };
        pairs.push(one, other);
        total += one;
    }
    Ok(total)
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn exchange(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(&MESSAGE).await?;
    let mut answer = MESSAGE;
    stream.read_exact(&mut answer).await?;
    black_box(answer);
    Ok(())
}

criterion_group!(benches, starting, forwarder);
criterion_main!(benches);
