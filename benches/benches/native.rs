//! What the embedded runtime takes by itself, below the orchestrator: from the request to execve, the
//! pause and the whole of a capture by what has changed, a depth of a thousand, and what is stored.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use statefork_benches::{BUSYBOX, Series, storage_options};
use statefork_native::NativeRuntime;
use statefork_runtime::{
    Capture, CaptureRequest, Captured, Captures, Container, ContainerSpec, Containers, ExecExit,
    ExecRequest, Images, Labels, LaunchRequest, Phase, Phases,
};

/// What an application does between two captures, as a script, and how it is called.
const CHANGES: [(&str, &str); 5] = [
    ("nothing", "true"),
    (
        "1 MB",
        "dd if=/dev/urandom of=/data/one bs=1M count=1 2>/dev/null",
    ),
    (
        "1000 files of 1 kB",
        "mkdir -p /data/many; cd /data/many; i=0; while [ $i -lt 1000 ]; do \
         head -c 1000 /dev/zero > $i; i=$((i+1)); done",
    ),
    (
        "100 MB",
        "dd if=/dev/zero of=/data/large bs=1M count=100 2>/dev/null",
    ),
    (
        "one of 50 000 files",
        "echo $(date +%s%N) > /data/heap/25/500",
    ),
];
/// Makes the 50 000 files of the last change.
const HEAP: &str = "mkdir -p /data/heap; cd /data/heap; d=0; while [ $d -lt 50 ]; do mkdir $d; i=0; \
                    while [ $i -lt 1000 ]; do : > $d/$i; i=$((i+1)); done; d=$((d+1)); done";

/// How much is measured.
struct Size {
    samples: usize,
    depth: usize,
    /// Whether there is a writable layer of 50 000 entries too.
    heap: bool,
}

fn main() -> Result<()> {
    // What `cargo bench -- --test` asks for: does it work?
    let size = match std::env::args().any(|argument| argument == "--test") {
        true => Size {
            samples: 1,
            depth: 3,
            heap: false,
        },
        false => Size {
            samples: 20,
            depth: 1000,
            heap: true,
        },
    };
    if !rustix::process::geteuid().is_root() {
        println!("native: skipped: it makes containers as root only");
        return Ok(());
    }
    let folder = tempfile::Builder::new()
        .prefix("native-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let runtime = tokio::runtime::Runtime::new().context("start an async runtime")?;
    // It makes that itself, open to its owner only.
    runtime.block_on(measure(&folder.path().join("storage"), &size))
}

/// A storage of its own, and names that nothing in it has.
struct Bench {
    native: NativeRuntime,
    base: Capture,
    count: usize,
}

async fn measure(storage: &Path, size: &Size) -> Result<()> {
    let native = statefork_native::open(&storage_options(storage)?)?;
    BUSYBOX.import(&native).await?;
    let image = native.inspect_image(BUSYBOX.name).await?;
    let image = image.context("find the image that was imported")?.id;
    let base = native.of_image(&image);
    let mut bench = Bench {
        native,
        base,
        count: 0,
    };
    println!("n | ms: median (min to max)");
    bench.launches(size).await?;
    bench.captures(size).await?;
    bench.depth(size, storage).await
}

impl Bench {
    fn name(&mut self) -> String {
        self.count += 1;
        format!("bench-{}", self.count)
    }

    async fn launch(&mut self, capture: &Capture, phases: &Phases) -> Result<Container> {
        let request = LaunchRequest {
            name: self.name(),
            spec: ContainerSpec {
                command: Some(["sleep", "1000000"].map(str::to_owned).into()),
                ..ContainerSpec::default()
            },
            labels: Labels::new(),
            publish: Vec::new(),
        };
        Ok(self.native.launch(capture, &request, phases).await?)
    }

    async fn capture(&mut self, container: &Container, phases: &Phases) -> Result<Captured> {
        let request = CaptureRequest {
            name: format!("statefork.local/bench:{}", self.name()),
            labels: Labels::new(),
            pause: true,
        };
        let captured = self.native.capture(&container.id, &request, phases).await?;
        Ok(captured)
    }

    async fn script(&self, container: &Container, script: &str) -> Result<()> {
        let request = ExecRequest {
            argv: ["sh", "-c", script].map(str::to_owned).into(),
            ..ExecRequest::default()
        };
        let mut exec = self.native.exec(&container.id, &request).await?;
        while exec.output.try_next().await?.is_some() {}
        match exec.control.wait().await? {
            ExecExit::Code(0) => Ok(()),
            other => bail!("{script:?} ended with {}", other.code()),
        }
    }

    /// A container beside another, as in a restore, and as the only one: then the host's rules are made
    /// for it, and go with it.
    async fn launches(&mut self, size: &Size) -> Result<()> {
        let base = self.base.clone();
        self.launches_beside(size, "the only one").await?;
        let other = self.launch(&base, &Phases::new()).await?;
        self.launches_beside(size, "beside another").await?;
        self.native.remove(&other.id).await?;
        Ok(())
    }

    async fn launches_beside(&mut self, size: &Size, what: &str) -> Result<()> {
        let (mut whole, mut start) = (Vec::new(), Vec::new());
        for _ in 0..size.samples {
            let phases = Phases::new();
            let begun = Instant::now();
            let base = self.base.clone();
            let container = self.launch(&base, &phases).await?;
            whole.push(begun.elapsed());
            start.push(phase(&phases, Phase::Start));
            self.native.remove(&container.id).await?;
        }
        println!("launch, {what}, request to execve | {}", series(whole));
        println!("  of which start | {}", series(start));
        Ok(())
    }

    async fn captures(&mut self, size: &Size) -> Result<()> {
        for (what, script) in CHANGES {
            let with_heap = script.contains("/data/heap");
            if with_heap && !size.heap {
                continue;
            }
            let base = self.base.clone();
            // One for each: the captures of a container lie one upon the other.
            let container = self.launch(&base, &Phases::new()).await?;
            self.script(&container, "mkdir -p /data").await?;
            if with_heap {
                self.script(&container, HEAP).await?;
                self.capture(&container, &Phases::new()).await?;
            }
            let (mut whole, mut pause) = (Vec::new(), Vec::new());
            for _ in 0..size.samples {
                self.script(&container, script).await?;
                let phases = Phases::new();
                let begun = Instant::now();
                let captured = self.capture(&container, &phases).await?;
                whole.push(begun.elapsed());
                pause.push(phase(&phases, Phase::Pause));
                self.native.remove_capture(&captured.capture).await?;
            }
            println!("capture, {what} changed, pause | {}", series(pause));
            println!("capture, {what} changed, whole | {}", series(whole));
            self.native.remove(&container.id).await?;
        }
        Ok(())
    }

    /// A chain of captures, each of a container that was made from the one before, flattened as the
    /// orchestrator does it.
    async fn depth(&mut self, size: &Size, storage: &Path) -> Result<()> {
        let base = self.base.clone();
        let mut container = self.launch(&base, &Phases::new()).await?;
        let mut first = None;
        let (mut changed, mut stored, mut flattened) = (0, 0, 0);
        for step in 1..=size.depth {
            let script = format!("head -c 10000 /dev/urandom > /own-{}", step % 100);
            self.script(&container, &script).await?;
            let before = disk(storage)?;
            let captured = self.capture(&container, &Phases::new()).await?;
            changed += 10_000;
            stored += disk(storage)?.saturating_sub(before);
            let mut capture = captured.capture;
            if captured.layers > 50 {
                let request = statefork_runtime::FlattenRequest {
                    name: format!("statefork.local/bench:{}", self.name()),
                    labels: Labels::new(),
                    base: base.clone(),
                };
                let before = disk(storage)?;
                capture = self.native.flatten(&capture, &request).await?.capture;
                flattened += disk(storage)?.saturating_sub(before);
            }
            self.native.remove(&container.id).await?;
            container = self.launch(&capture, &Phases::new()).await?;
            first.get_or_insert(capture.clone());
            if step == size.depth {
                let first = first.clone().unwrap_or(capture.clone());
                self.restores(size, [(1, first), (step, capture)]).await?;
            }
        }
        println!(
            "stored on the disk for {} captures of 10 000 bytes: {stored} bytes, {changed} changed",
            size.depth
        );
        println!("and for what was flattened of them: {flattened} bytes");
        self.native.remove(&container.id).await?;
        Ok(())
    }

    async fn restores(&mut self, size: &Size, captures: [(usize, Capture); 2]) -> Result<()> {
        let mut took: [Vec<Duration>; 2] = Default::default();
        for _ in 0..size.samples {
            for (series, (_, capture)) in took.iter_mut().zip(&captures) {
                let begun = Instant::now();
                let container = self.launch(capture, &Phases::new()).await?;
                series.push(begun.elapsed());
                self.native.remove(&container.id).await?;
            }
        }
        for (took, (step, _)) in took.into_iter().zip(captures) {
            println!("launch of capture {step} | {}", series(took));
        }
        Ok(())
    }
}

fn series(durations: Vec<Duration>) -> Series {
    durations.into_iter().collect()
}

fn phase(phases: &Phases, wanted: Phase) -> Duration {
    let recorded = phases.snapshot().into_iter();
    recorded
        .filter(|(phase, _)| *phase == wanted)
        .map(|(_, took)| took)
        .sum()
}

/// Bytes that the layers of a storage take on the disk.
fn disk(storage: &Path) -> Result<u64> {
    let mut sum = 0;
    let mut pending = vec![storage.join("layers")];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                pending.push(entry.path());
            }
            sum += std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
        }
    }
    Ok(sum)
}
