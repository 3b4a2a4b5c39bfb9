//! Tests of the books.

use statefork_runtime::{ContainerId, ContainerSpec, ErrorKind, ImageConfig, ImageId, Labels};

use super::*;
use crate::plan::ProcessRef;

const NOBODY: ProcessRef = ProcessRef {
    pid: 0x3fff_fff0,
    start: 1,
};

struct Fixture {
    books: Books,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            books: Books::open(&folder.path().join("books.sqlite")).unwrap(),
            _folder: folder,
        }
    }

    fn draft(&self, digest: Option<&str>) -> Draft {
        Draft {
            layer: self.books.begin_layer(&NOBODY).unwrap(),
            size_bytes: 10,
            digest: digest.map(str::to_owned),
        }
    }

    /// Enters an image with one more layer than `below`.
    fn image(&self, id: &str, names: &[&str], below: &[LayerId]) -> Vec<LayerId> {
        let drafts = [self.draft(None)];
        let layers = [below, &[drafts[0].layer]].concat();
        self.add(id, names, &layers, &drafts, true).unwrap();
        layers
    }

    fn add(
        &self,
        id: &str,
        names: &[&str],
        layers: &[LayerId],
        drafts: &[Draft],
        move_names: bool,
    ) -> Result<()> {
        let names: Vec<String> = names.iter().map(|name| full_name(name)).collect();
        self.books.add_image(&NewImage {
            id: &ImageId::new(id),
            names: &names,
            move_names,
            config: &StoredConfig {
                image: ImageConfig::default(),
                stop_signal: None,
            },
            layers,
            drafts,
        })
    }

    fn container(&self, id: &str, name: &str, image: &str) -> Result<ContainerRecord> {
        self.books.add_container(&NewContainer {
            id: &ContainerId::new(id),
            name,
            image: &ImageId::new(image),
            spec: &ContainerSpec::default(),
            labels: &Labels::new(),
            addresses: Some("10.1.2.0/29".parse().unwrap()),
        })
    }

    /// What may be removed, if no process lives.
    fn stranded(&self) -> Vec<LayerId> {
        self.books.stranded(|_| false).unwrap()
    }
}

#[test]
fn a_layer_stays_as_long_as_somebody_needs_it() {
    let f = Fixture::new();
    let one = f.image("one", &["a"], &[]);
    let two = f.image("two", &["b"], &one);
    assert_eq!(f.stranded(), []);
    f.books.remove_image("one").unwrap();
    assert_eq!(f.stranded(), []);
    f.container("c", "c", "two").unwrap();
    let refused = f.books.remove_image("b").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    f.books.remove_container(&ContainerId::new("c")).unwrap();
    f.books.remove_image("b").unwrap();
    assert_eq!(f.stranded(), two);
    for layer in two {
        f.books.forget_layer(layer).unwrap();
    }
    assert_eq!(f.stranded(), []);
}

#[test]
fn what_a_process_left_half_is_stranded_when_it_is_dead() {
    let f = Fixture::new();
    let draft = f.draft(None);
    assert_eq!(f.books.stranded(|owner| *owner == NOBODY).unwrap(), []);
    assert_eq!(f.stranded(), [draft.layer]);
    // Its own process may also say so.
    let given_up = f.draft(None);
    f.books.give_up_layer(given_up.layer).unwrap();
    assert_eq!(f.books.stranded(|_| true).unwrap(), [given_up.layer]);
}

#[test]
fn a_name_is_moved_or_refused() {
    let f = Fixture::new();
    f.image("one", &["a:1", "b"], &[]);
    let layers = f.image("two", &["a:1"], &[]);
    let names = |id: &str| f.books.image(id).unwrap().unwrap().names;
    assert_eq!(names("one"), ["b:latest"]);
    assert_eq!(names("two"), ["a:1"]);
    let refused = f.add("three", &["b"], &layers, &[], false).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(f.books.image("three").unwrap().is_none());
    assert_eq!(f.books.image("b").unwrap().unwrap().id.as_str(), "one");
}

#[test]
fn a_digest_is_found_while_its_layer_is_there() {
    let f = Fixture::new();
    let draft = f.draft(Some("abc"));
    let layer = draft.layer;
    f.add("one", &["a"], &[layer], &[draft], true).unwrap();
    assert_eq!(f.books.layer_of_digest("abc").unwrap(), Some(layer));
    // Whoever unpacked the same at the same time shares it, and has his own in vain.
    let [other, above] = [f.draft(Some("abc")), f.draft(None)];
    let (vain, own) = (other.layer, above.layer);
    f.add("two", &["b"], &[vain, own], &[other, above], true)
        .unwrap();
    let two = f.books.image("two").unwrap().unwrap();
    assert_eq!(two.layers, [layer, own]);
    assert_eq!(f.stranded(), [vain]);
    f.books.remove_image("a").unwrap();
    assert_eq!(f.books.layer_of_digest("abc").unwrap(), Some(layer));
    f.books.remove_image("b").unwrap();
    assert_eq!(f.books.layer_of_digest("abc").unwrap(), None);
}

#[test]
fn containers_have_names_and_addresses_of_their_own() {
    let f = Fixture::new();
    f.image("one", &["a"], &[]);
    let address = |id: &str| {
        let record = f.container(id, id, "one").unwrap();
        record.address.unwrap().to_string()
    };
    assert_eq!(address("c"), "10.1.2.2");
    assert_eq!(address("d"), "10.1.2.3");
    let taken = f.container("e", "c", "one").unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Conflict);
    f.books.remove_container(&ContainerId::new("c")).unwrap();
    assert_eq!(address("f"), "10.1.2.2");
    for id in ["g", "h", "i"] {
        f.container(id, id, "one").unwrap();
    }
    let none = f.container("j", "j", "one").unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Unsupported);
    let beside = |id| f.books.addressed_beside(&ContainerId::new(id)).unwrap();
    assert_eq!((beside("g"), beside("c")), (4, 5));
}

#[test]
fn a_capture_becomes_the_base_of_the_next() {
    let f = Fixture::new();
    let below = f.image("one", &["a"], &[]);
    let id = ContainerId::new("c");
    let before = f.container("c", "c", "one").unwrap();
    assert_eq!((before.captured, before.captures), (below.clone(), 0));
    let draft = f.draft(None);
    let layers = [below.as_slice(), &[draft.layer]].concat();
    let capture = |captures: u64, drafts: &[Draft]| {
        f.books.add_capture(
            &id,
            captures,
            &NewImage {
                id: &ImageId::new(format!("capture-{captures}")),
                names: &[],
                move_names: false,
                config: &StoredConfig::default(),
                layers: &layers,
                drafts,
            },
        )
    };
    capture(0, &[draft]).unwrap();
    let after = f.books.container(&id).unwrap().unwrap();
    assert_eq!(
        (after.layers, after.captured, after.captures),
        (below, layers.clone(), 1)
    );
    // One that began before another one ended is not the next.
    assert!(capture(0, &[]).is_err());
    // The base stays although the image goes.
    f.books.remove_image("capture-0").unwrap();
    assert_eq!(f.stranded(), []);
    f.books.remove_container(&id).unwrap();
    assert_eq!(f.stranded(), layers[1..]);
}

#[test]
fn another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("books.sqlite");
    drop(Books::open(&path).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 7).unwrap();
    assert_eq!(Books::open(&path).unwrap_err().kind(), ErrorKind::Damaged);
}
