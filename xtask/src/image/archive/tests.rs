//! Tests of the archive writer.

use std::os::unix::fs::symlink;

use super::*;

fn entries(bytes: &[u8]) -> Vec<(String, EntryType, u64)> {
    tar::Archive::new(bytes)
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            (path, entry.header().entry_type(), entry.size())
        })
        .collect()
}

#[test]
fn a_tree_keeps_links_and_skips_what_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("d/skipped")).unwrap();
    fs::write(root.join("d/a"), "12345").unwrap();
    fs::hard_link(root.join("d/a"), root.join("d/b")).unwrap();
    symlink("a", root.join("d/c")).unwrap();
    let long = format!("d/{}", "x".repeat(150));
    fs::write(root.join(&long), "").unwrap();
    let mut layer = Layer::create(&dir.path().join("layer")).unwrap();
    layer
        .tree(&root, &|path| path.ends_with("skipped"))
        .unwrap();
    let finished = layer.finish().unwrap();
    let bytes = fs::read(&finished.path).unwrap();
    assert_eq!(finished.size, bytes.len() as u64);
    assert_eq!(finished.digest, hex(&Sha256::digest(&bytes)));
    assert_eq!(
        entries(&bytes),
        [
            ("d".to_owned(), EntryType::Directory, 0),
            ("d/a".to_owned(), EntryType::Regular, 5),
            ("d/b".to_owned(), EntryType::Link, 0),
            ("d/c".to_owned(), EntryType::Symlink, 0),
            (long, EntryType::Regular, 0),
        ]
    );
}

#[test]
fn the_manifest_names_the_configuration_by_its_digest_and_the_layer() {
    let dir = tempfile::tempdir().unwrap();
    let mut layer = Layer::create(&dir.path().join("layer")).unwrap();
    layer.file("hello", 0o644, b"hello").unwrap();
    let layer = layer.finish().unwrap();
    let archive = dir.path().join("image.tar");
    write(
        &archive,
        "localhost/x:latest",
        &json!({"Cmd": ["/x"]}),
        &layer,
    )
    .unwrap();
    let mut files = HashMap::new();
    for entry in tar::Archive::new(File::open(&archive).unwrap())
        .entries()
        .unwrap()
    {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), content);
    }
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let config_name = manifest[0]["Config"].as_str().unwrap();
    let config = &files[config_name];
    assert_eq!(
        config_name,
        format!("{}.json", hex(&Sha256::digest(config)))
    );
    let config: Value = serde_json::from_slice(config).unwrap();
    assert_eq!(config["config"]["Cmd"][0], "/x");
    let layer_bytes = &files[manifest[0]["Layers"][0].as_str().unwrap()];
    assert_eq!(
        config["rootfs"]["diff_ids"][0],
        format!("sha256:{}", hex(&Sha256::digest(layer_bytes)))
    );
    assert_eq!(manifest[0]["RepoTags"][0], "localhost/x:latest");
}
