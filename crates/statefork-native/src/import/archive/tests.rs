//! Images found in archives and layouts.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::*;
use crate::import::config::own_architecture;
use crate::import::sample::{self, Tar};

/// The layers of an image, and its configuration.
struct Image {
    layers: Vec<Vec<u8>>,
    config: Vec<u8>,
}

fn image(architecture: &str) -> Image {
    let layers = vec![
        Tar::new().file("a", b"lower").finish(),
        Tar::new().file("b", b"upper").finish(),
    ];
    let diff_ids: Vec<_> = layers.iter().map(|layer| sha(layer)).collect();
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/a"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string().into_bytes();
    Image { layers, config }
}

fn own_image() -> Image {
    image(own_architecture())
}

fn sha(bytes: &[u8]) -> String {
    format!("sha256:{}", sample::sha256(bytes))
}

/// Files of an OCI layout.
#[derive(Default)]
struct Layout {
    files: Vec<(String, Vec<u8>)>,
}

impl Layout {
    fn add(&mut self, bytes: &[u8]) -> String {
        let hex = sample::sha256(bytes);
        self.files
            .push((format!("blobs/sha256/{hex}"), bytes.to_vec()));
        format!("sha256:{hex}")
    }

    /// Adds a manifest; its descriptor.
    fn image(&mut self, image: &Image, compress: fn(&[u8]) -> Vec<u8>) -> Value {
        let layers: Vec<_> = image
            .layers
            .iter()
            .map(|layer| json!({"digest": self.add(&compress(layer))}))
            .collect();
        let config = self.add(&image.config);
        let manifest = json!({"schemaVersion": 2, "config": {"digest": config}, "layers": layers});
        json!({"digest": self.add(manifest.to_string().as_bytes())})
    }

    /// Adds an index; its descriptor.
    fn index(&mut self, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        json!({"digest": self.add(index.to_string().as_bytes())})
    }

    fn finish(mut self, manifests: &[Value]) -> Vec<(String, Vec<u8>)> {
        let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        self.files.push(("index.json".into(), index.into_bytes()));
        self.files.push((
            "oci-layout".into(),
            b"{\"imageLayoutVersion\":\"1.0.0\"}".into(),
        ));
        self.files
    }
}

fn with(mut descriptor: Value, key: &str, value: Value) -> Value {
    descriptor[key] = value;
    descriptor
}

fn platform(descriptor: Value, architecture: &str) -> Value {
    with(
        descriptor,
        "platform",
        json!({"os": "linux", "architecture": architecture}),
    )
}

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Tar::new();
    for (path, content) in files {
        tar = tar.file(path, content);
    }
    tar.finish()
}

fn read_bytes(bytes: &[u8]) -> Result<Archive, ImportError> {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = folder.path().join("archive");
    fs::write(&path, bytes).unwrap();
    read(
        &File::open(path).unwrap(),
        folder.path(),
        &Bounds::default(),
    )
}

/// Whether the layers unpack, and are those of [`image`].
fn check(archive: &Archive) {
    assert_eq!(archive.layers.len(), 2);
    for (layer, (path, content)) in archive.layers.iter().zip([("a", "lower"), ("b", "upper")]) {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let target = sample::open(folder.path());
        let unpacked = archive
            .unpack(layer, target.as_fd(), &Bounds::default())
            .unwrap();
        assert_eq!(unpacked.digest, layer.diff_id);
        assert_eq!(
            fs::read_to_string(folder.path().join(path)).unwrap(),
            content
        );
    }
    assert_eq!(archive.config.to_contract().unwrap().command, ["/a"]);
}

fn saved(image: &Image, names: &[&str]) -> Value {
    let config = format!("{}.json", sample::sha256(&image.config));
    json!({"Config": config, "RepoTags": names, "Layers": ["0/layer.tar", "1/layer.tar"]})
}

/// What `docker save` writes.
fn save(image: &Image, entries: &[Value]) -> Tar {
    Tar::new()
        .file(
            &format!("{}.json", sample::sha256(&image.config)),
            &image.config,
        )
        .folder("0")
        .file("0/layer.tar", &image.layers[0])
        .file("real.tar", &image.layers[1])
        .folder("1")
        .symlink("1/layer.tar", "../real.tar")
        .file("manifest.json", json!(entries).to_string().as_bytes())
}

#[test]
fn what_docker_saves_is_read_compressed_or_not() {
    let image = own_image();
    let tar = save(&image, &[saved(&image, &["b:1", "a:1"])]).finish();
    for bytes in [tar.clone(), sample::gzip(&tar), sample::zstd(&tar)] {
        let archive = read_bytes(&bytes).unwrap();
        assert_eq!(archive.names, ["a:1", "b:1"]);
        assert_eq!(archive.config.id(), sample::sha256(&image.config));
        check(&archive);
    }
}

#[test]
fn several_saved_images_are_listed() {
    let image = own_image();
    let tar = save(&image, &[saved(&image, &["a:1"]), saved(&image, &[])]).finish();
    let Err(ImportError::Several { images }) = read_bytes(&tar) else {
        panic!("not refused as several");
    };
    let untagged = format!("{}.json", sample::sha256(&image.config));
    assert_eq!(images, ["a:1".to_owned(), untagged]);
}

#[test]
fn an_oci_image_is_read_from_archive_and_folder() {
    for compress in [|b: &[u8]| b.to_vec(), sample::gzip, sample::zstd] {
        let mut layout = Layout::default();
        let manifest = layout.image(&own_image(), compress);
        let names = json!({"org.opencontainers.image.ref.name": "app:1"});
        let files = layout.finish(&[with(manifest, "annotations", names)]);
        let archive = read_bytes(&tar(&files)).unwrap();
        assert_eq!(archive.names, ["app:1"]);
        check(&archive);
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        for (path, content) in &files {
            fs::write(folder.path().join(path), content).unwrap();
        }
        let archive = read_folder(folder.path()).unwrap();
        assert_eq!(archive.names, ["app:1"]);
        check(&archive);
        // A file of the layout that leads elsewhere is not read.
        let index = folder.path().join("index.json");
        fs::remove_file(&index).unwrap();
        symlink("/etc/passwd", &index).unwrap();
        let error = read_folder(folder.path()).unwrap_err();
        assert!(matches!(error, ImportError::Read { .. }), "{error:?}");
    }
}

#[test]
fn of_several_platforms_the_machines_own_is_taken() {
    let mut layout = Layout::default();
    let own = layout.image(&own_image(), sample::gzip);
    let variant = json!({"os": "linux", "architecture": own_architecture(), "variant": "v3"});
    let newer = with(
        json!({"digest": sha(b"not in the archive")}),
        "platform",
        variant,
    );
    let attached = with(
        own.clone(),
        "annotations",
        json!({"vnd.docker.reference.type": "x"}),
    );
    let unknown = json!({"os": "unknown", "architecture": "unknown"});
    let manifests = [
        platform(
            json!({"digest": sha(b"not in the archive either")}),
            "s390x",
        ),
        platform(own, own_architecture()),
        attached,
        with(json!({"digest": sha(b"x")}), "platform", unknown),
    ];
    let index = layout.index(&manifests);
    let names = json!({"io.containerd.image.name": "docker.io/library/app:1",
                       "org.opencontainers.image.ref.name": "1"});
    let files = layout.finish(&[with(index, "annotations", names)]);
    let archive = read_bytes(&tar(&files)).unwrap();
    assert_eq!(archive.names, ["docker.io/library/app:1"]);
    check(&archive);
    // A manifest that fits must be there.
    let files = Layout::default().finish(&[newer]);
    let error = read_bytes(&tar(&files)).unwrap_err();
    assert!(matches!(error, ImportError::Missing { .. }), "{error:?}");
}

#[test]
fn several_and_foreign_images_are_refused() {
    let mut layout = Layout::default();
    let first = layout.image(&own_image(), sample::gzip);
    let second = layout.image(&own_image(), sample::zstd);
    let named = with(
        first.clone(),
        "annotations",
        json!({"org.opencontainers.image.ref.name": "a"}),
    );
    let digest = second["digest"].as_str().unwrap().to_owned();
    let files = layout.finish(&[named, second]);
    let Err(ImportError::Several { images }) = read_bytes(&tar(&files)) else {
        panic!("not refused as several");
    };
    assert_eq!(images, ["a", &digest]);

    let mut layout = Layout::default();
    let foreign = layout.image(&image("s390x"), sample::gzip);
    let said = platform(json!({"digest": sha(b"absent")}), "riscv64");
    let mut wrongly_said = Layout::default();
    let wrong = wrongly_said.image(&image("s390x"), sample::gzip);
    let wrong = platform(wrong, own_architecture());
    let saved_one = image("s390x");
    let saved_tar = save(&saved_one, &[saved(&saved_one, &[])]).finish();
    for (bytes, expected) in [
        (
            tar(&layout.finish(&[foreign, said])),
            "linux/riscv64, linux/s390x",
        ),
        (tar(&wrongly_said.finish(&[wrong])), "linux/s390x"),
        (saved_tar, "linux/s390x"),
    ] {
        match read_bytes(&bytes) {
            Err(ImportError::Platform { found, .. }) => assert_eq!(found, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_digest_is_verified() {
    let digest_fails = |error: ImportError| {
        assert!(matches!(error, ImportError::Digest { .. }), "{error:?}");
    };
    let layout = || {
        let mut layout = Layout::default();
        let manifest = layout.image(&own_image(), sample::gzip);
        layout.finish(&[manifest])
    };
    let count = layout().len();
    for changed in 0..count - 2 {
        let mut files = layout();
        // A layer stays a compressed stream, a document stays one.
        files[changed]
            .1
            .extend_from_slice(if changed < 2 { &[] } else { b" " });
        if changed < 2 {
            files[changed].1 = sample::gzip(&Tar::new().file("c", b"other").finish());
        }
        match read_bytes(&tar(&files)) {
            Err(error) => digest_fails(error),
            Ok(archive) => {
                let folder = tempfile::tempdir_in("/var/tmp").unwrap();
                let target = sample::open(folder.path());
                let layer = &archive.layers[changed];
                let unpacked = archive.unpack(layer, target.as_fd(), &Bounds::default());
                digest_fails(unpacked.unwrap_err());
            }
        }
    }
    // The layers of the older form have no digests of their own, those of the configuration count.
    let image = own_image();
    let other = Image {
        layers: vec![image.layers[1].clone(), image.layers[0].clone()],
        config: image.config.clone(),
    };
    let archive = read_bytes(&save(&other, &[saved(&image, &[])]).finish()).unwrap();
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let target = sample::open(folder.path());
    let unpacked = archive.unpack(&archive.layers[0], target.as_fd(), &Bounds::default());
    digest_fails(unpacked.unwrap_err());
}

#[test]
fn what_is_no_image_is_told_from_what_is_damaged() {
    let sparse = |name| {
        let size = [("GNU.sparse.size", &b"9"[..]), ("GNU.sparse.map", b"8,1")];
        Tar::new().records(&size).file(name, b"x").finish()
    };
    for root in [Tar::new().file("etc/passwd", b"").finish(), sparse("data")] {
        let error = read_bytes(&root).unwrap_err();
        assert!(matches!(error, ImportError::NoImage), "{error:?}");
    }
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let error = read_folder(folder.path()).unwrap_err();
    assert!(matches!(error, ImportError::NoImage), "{error:?}");

    let image = own_image();
    let whole = save(&image, &[saved(&image, &[])]).finish();
    let no_layers = json!([{"Config": format!("{}.json", sample::sha256(&image.config))}]);
    let ambiguous = {
        let mut layout = Layout::default();
        let both = json!({"manifests": [], "config": {"digest": sha(b"")}});
        let digest = layout.add(both.to_string().as_bytes());
        tar(&layout.finish(&[json!({"digest": digest})]))
    };
    for bytes in [
        b"no archive at all".to_vec(),
        sparse("manifest.json"),
        whole[..600].to_vec(),
        Tar::new().file("manifest.json", b"[]").finish(),
        Tar::new().file("manifest.json", b"{").finish(),
        Tar::new().file("index.json", b"{}").finish(),
        Tar::new()
            .file("index.json", br#"{"manifests": []}"#)
            .finish(),
        save(&image, &[])
            .file("manifest.json", no_layers.to_string().as_bytes())
            .finish(),
        ambiguous,
    ] {
        let error = read_bytes(&bytes).unwrap_err();
        assert!(matches!(error, ImportError::Malformed { .. }), "{error:?}");
    }
    let lost = Tar::new()
        .file(
            "manifest.json",
            json!([saved(&image, &[])]).to_string().as_bytes(),
        )
        .finish();
    let error = read_bytes(&lost).unwrap_err();
    assert!(matches!(error, ImportError::Missing { .. }), "{error:?}");
}
