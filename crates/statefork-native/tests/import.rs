//! Images from what is not an archive as `docker save` writes it.

use std::fs;
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};
use statefork_native::NativeRuntime;
use statefork_runtime::{ErrorKind, Images, RuntimeOptions};

const NAME: &str = "localhost/own:1";

struct Place {
    dir: tempfile::TempDir,
    native: NativeRuntime,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = RuntimeOptions {
            storage: Some(dir.path().join("storage")),
            // No container is made.
            helper: Some("/nonexistent".into()),
            ..RuntimeOptions::default()
        };
        let native = statefork_native::open(&options).unwrap();
        Self { dir, native }
    }

    /// A root file system.
    fn root(&self) -> std::path::PathBuf {
        let root = self.dir.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/motd"), "welcome").unwrap();
        std::os::unix::fs::symlink("motd", root.join("etc/link")).unwrap();
        root
    }

    /// The same as a tar archive.
    fn archive(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        tar.follow_symlinks(false);
        tar.append_dir_all(".", self.root()).unwrap();
        tar.into_inner().unwrap()
    }

    /// The files of the only layer, by path.
    fn files(&self) -> Vec<String> {
        let mut layers = fs::read_dir(self.dir.path().join("storage/layers")).unwrap();
        let layer = layers.next().unwrap().unwrap().path();
        assert!(layers.next().is_none());
        assert_eq!(
            fs::read_to_string(layer.join("etc/link")).unwrap(),
            "welcome"
        );
        let names = fs::read_dir(layer.join("etc")).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

async fn imports_a_root(place: &Place, path: &Path) {
    let nameless = place.native.import_from(path, None).await.unwrap_err();
    assert_eq!(nameless.kind(), ErrorKind::Invalid);
    let image = place.native.import_from(path, Some(NAME)).await.unwrap();
    assert_eq!(image.names, [NAME]);
    assert_eq!((image.layers, image.size_bytes), (1, 7));
    assert_eq!(place.files(), ["link", "motd"]);
    place.native.remove_image(NAME).await.unwrap();
    let layers = place.dir.path().join("storage/layers");
    assert_eq!(fs::read_dir(layers).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_with_a_root_file_system() {
    let place = Place::new();
    imports_a_root(&place, &place.root()).await;
}

#[tokio::test]
async fn an_archive_of_a_root_file_system() {
    let place = Place::new();
    let path = place.dir.path().join("root.tar");
    fs::write(&path, place.archive()).unwrap();
    imports_a_root(&place, &path).await;
}

/// Writes a blob of a layout; what names it.
fn blob(layout: &Path, kind: &str, bytes: &[u8]) -> serde_json::Value {
    let digest: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(&digest), bytes).unwrap();
    json!({
        "mediaType": format!("application/vnd.oci.image.{kind}"),
        "digest": format!("sha256:{digest}"),
        "size": bytes.len(),
    })
}

#[tokio::test]
async fn a_layout_keeps_its_name_unless_another_is_given() {
    let place = Place::new();
    let layout = place.dir.path().join("layout");
    let layer = blob(&layout, "layer.v1.tar", &place.archive());
    let config = json!({
        "os": "linux",
        "config": { "Cmd": ["serve"] },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = blob(&layout, "config.v1+json", config.to_string().as_bytes());
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let mut manifest = blob(&layout, "manifest.v1+json", manifest.to_string().as_bytes());
    manifest["annotations"] = json!({ "io.containerd.image.name": "localhost/theirs:2" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();

    let image = place.native.import_from(&layout, None).await.unwrap();
    assert_eq!(image.names, ["localhost/theirs:2"]);
    assert_eq!(image.config.command, ["serve"]);
    let again = place.native.import_from(&layout, Some(NAME)).await.unwrap();
    assert_eq!(again.id, image.id);
    assert_eq!(again.names, [NAME, "localhost/theirs:2"]);
    assert_eq!(place.files(), ["link", "motd"]);
}

#[tokio::test]
async fn what_is_none_of_these_is_refused() {
    let place = Place::new();
    let noise = place.dir.path().join("noise");
    fs::write(&noise, [0xa5; 4096]).unwrap();
    let refused = place.native.import_from(&noise, Some(NAME)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    let refused = place.native.import_from(&place.root(), Some("a b")).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(place.native.inspect_image(NAME).await.unwrap().is_none());
}
