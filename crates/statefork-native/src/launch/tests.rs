//! Tests of what the host does for containers, and that it ends with the last of them.

use statefork_runtime::{ContainerSpec, Containers, ImageConfig, RuntimeOptions};

use super::*;
use crate::NativeRuntime;
use crate::books::{NewImage, StoredConfig};
use crate::network::sample::{has_route, has_rules, on_a_host, wait_for};

struct Fixture {
    native: NativeRuntime,
    subnet: Subnet,
    _folder: tempfile::TempDir,
}

impl Fixture {
    /// A storage that has chosen its addresses.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let native = crate::open(&RuntimeOptions {
            storage: Some(folder.path().join("storage")),
            helper: Some("/none".into()),
            ..RuntimeOptions::default()
        });
        let native = native.unwrap();
        let books = native.inner.books().unwrap();
        let subnet = books.settle(SUBNET, "10.9.0.0/20").unwrap();
        books
            .add_image(&NewImage {
                id: &ImageId::new("image"),
                names: &[],
                move_names: false,
                config: &StoredConfig {
                    image: ImageConfig::default(),
                    stop_signal: None,
                },
                layers: &[],
                drafts: &[],
            })
            .unwrap();
        Self {
            native,
            subnet: read_subnet(&subnet).unwrap(),
            _folder: folder,
        }
    }

    /// Enters a container that has never run.
    fn container(&self, id: &str) -> ContainerId {
        let id = ContainerId::new(id);
        let new = NewContainer {
            id: &id,
            name: id.as_str(),
            image: &ImageId::new("image"),
            spec: &ContainerSpec::default(),
            labels: &Labels::new(),
            addresses: Some(self.subnet),
        };
        let books = self.native.inner.books().unwrap();
        books.add_container(&new).unwrap().id
    }

    fn lead_out(&self) {
        wait_for(lead_out(&self.native.inner, &self.subnet)).unwrap();
        assert_eq!(self.led_out(), [true, true]);
    }

    fn remove(&self, id: &ContainerId) {
        wait_for(self.native.remove(id)).unwrap();
    }

    /// Whether there are rules, and a route.
    fn led_out(&self) -> [bool; 2] {
        let table = network::table(self.native.inner.storage.root());
        [has_rules(&table), has_route(&self.subnet)]
    }
}

#[test]
fn the_last_container_takes_the_rules_and_the_route_with_it() {
    on_a_host(|| {
        let f = Fixture::new();
        let (one, other) = (f.container("one"), f.container("other"));
        f.lead_out();
        f.remove(&one);
        assert_eq!(f.led_out(), [true, true]);
        f.remove(&other);
        assert_eq!(f.led_out(), [false, false]);
    });
}

#[test]
fn a_removal_of_what_is_gone_takes_them_too_if_nobody_needs_them() {
    on_a_host(|| {
        let f = Fixture::new();
        f.lead_out();
        let gone = ContainerId::new("gone");
        f.remove(&gone);
        assert_eq!(f.led_out(), [false, false]);
        let one = f.container("one");
        f.lead_out();
        f.remove(&gone);
        assert_eq!(f.led_out(), [true, true]);
        f.remove(&one);
        assert_eq!(f.led_out(), [false, false]);
    });
}

#[test]
fn a_container_that_cannot_be_made_takes_them_too() {
    on_a_host(|| {
        let f = Fixture::new();
        f.lead_out();
        let folder = f.native.inner.storage.container(&ContainerId::new("one"));
        std::fs::remove_dir(folder.parent().unwrap()).unwrap();
        let request = LaunchRequest {
            name: "one".into(),
            spec: ContainerSpec::default(),
            labels: Labels::new(),
            publish: Vec::new(),
        };
        let image = ImageId::new("image");
        wait_for(create(&f.native.inner, &image, &request)).unwrap_err();
        assert_eq!(f.led_out(), [false, false]);
    });
}
