//! A container engine over its socket: what there is in it, and images in and out.
//!
//! Docker and Podman are asked the same way, in the Docker Engine API, which both speak.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde_json::Value;

use crate::daemons::{Kind, Layout};
use crate::http::{Address, Answer, exchange};

/// How long a call may take; loading an image is the longest.
const PATIENCE: Duration = Duration::from_secs(180);

/// An engine that answers.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    /// Which one.
    pub(crate) kind: Kind,
    address: Address,
}

/// Something in an engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Object {
    /// `container`, `image`, `network` or `volume`.
    pub(crate) what: &'static str,
    /// What the engine knows it by.
    pub(crate) id: String,
    /// What a person knows it by.
    pub(crate) name: String,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.trim_start_matches("sha256:");
        let id = id.get(..12).unwrap_or(id);
        write!(f, "{} {id} {}", self.what, self.name)
    }
}

impl Engine {
    /// The engine whose socket the layout names.
    pub(crate) fn new(layout: &Layout, kind: Kind) -> Self {
        Self {
            kind,
            address: Address::Unix(layout.socket(kind)),
        }
    }

    /// Everything that a run can leave in it.
    pub(crate) fn objects(&self) -> Result<Vec<Object>> {
        let mut objects = self.containers(None)?;
        // An image without a name is a builder's cache: everything of ours has one.
        let images = self.get("/images/json?all=true")?;
        let images = list(&images, "image", "Id", "RepoTags");
        objects.extend(images.filter(|image| !matches!(&*image.name, "" | "<none>:<none>")));
        objects.extend(list(&self.get("/networks")?, "network", "Id", "Name"));
        let volumes = self.get("/volumes")?;
        objects.extend(list(&volumes["Volumes"], "volume", "Name", "Driver"));
        Ok(objects)
    }

    /// All containers, or those with a label.
    pub(crate) fn containers(&self, label: Option<&str>) -> Result<Vec<Object>> {
        let path = match label {
            Some(label) => format!(
                "/containers/json?all=true&filters={}",
                escape(&format!("{{\"label\":[\"{label}\"]}}"))
            ),
            None => "/containers/json?all=true".to_owned(),
        };
        Ok(list(&self.get(&path)?, "container", "Id", "Names").collect())
    }

    /// The images with a label.
    pub(crate) fn images(&self, label: &str) -> Result<Vec<Object>> {
        let filters = escape(&format!("{{\"label\":[\"{label}\"]}}"));
        let listed = self.get(&format!("/images/json?filters={filters}"))?;
        Ok(list(&listed, "image", "Id", "RepoTags").collect())
    }

    /// Whether it has an image of this name.
    pub(crate) fn has_image(&self, name: &str) -> Result<bool> {
        let answer = self.call(Method::GET, &format!("/images/{name}/json"), vec![])?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refusal(&answer, &format!("look up image {name}"))),
        }
    }

    /// Loads the image of an archive, which must then be there by this name.
    pub(crate) fn load(&self, archive: &Path, name: &str) -> Result<()> {
        let bytes = fs::read(archive).with_context(|| format!("read {}", archive.display()))?;
        let answer = self.call(Method::POST, "/images/load", bytes)?;
        if answer.status != 200 || !self.has_image(name)? {
            return Err(self.refusal(&answer, &format!("load {}", archive.display())));
        }
        Ok(())
    }

    /// Gives an image a further name.
    pub(crate) fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<()> {
        let path = format!("/images/{image}/tag?repo={}&tag={tag}", escape(repository));
        let answer = self.call(Method::POST, &path, vec![])?;
        match answer.status {
            200 | 201 => Ok(()),
            _ => Err(self.refusal(&answer, &format!("name image {image} {repository}:{tag}"))),
        }
    }

    /// Removes an image, if it is there.
    pub(crate) fn remove_image(&self, name: &str) -> Result<()> {
        let answer = self.call(
            Method::DELETE,
            &format!("/images/{name}?force=true"),
            vec![],
        )?;
        match answer.status {
            200 | 404 => Ok(()),
            _ => Err(self.refusal(&answer, &format!("remove image {name}"))),
        }
    }

    /// Whether it has a volume of this name.
    pub(crate) fn has_volume(&self, name: &str) -> Result<bool> {
        let volumes = self.get("/volumes")?;
        Ok(list(&volumes["Volumes"], "volume", "Name", "Driver").any(|volume| volume.id == name))
    }

    /// Removes a volume, if it is there.
    pub(crate) fn remove_volume(&self, name: &str) -> Result<()> {
        let answer = self.call(Method::DELETE, &format!("/volumes/{name}"), vec![])?;
        match answer.status {
            200 | 204 | 404 => Ok(()),
            _ => Err(self.refusal(&answer, &format!("remove volume {name}"))),
        }
    }

    /// Removes a container, running or not, if it is there.
    pub(crate) fn remove_container(&self, id: &str) -> Result<()> {
        let path = format!("/containers/{id}?force=true&v=true");
        let answer = self.call(Method::DELETE, &path, vec![])?;
        match answer.status {
            200 | 204 | 404 => Ok(()),
            _ => Err(self.refusal(&answer, &format!("remove container {id}"))),
        }
    }

    fn get(&self, path: &str) -> Result<Value> {
        let answer = self.call(Method::GET, path, vec![])?;
        if answer.status != 200 {
            return Err(self.refusal(&answer, &format!("list {path}")));
        }
        answer.json()
    }

    fn call(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Answer> {
        let content = ("application/x-tar", body);
        exchange(&self.address, method, path, content, PATIENCE)
            .with_context(|| format!("failed to ask {}", self.kind))
    }

    fn refusal(&self, answer: &Answer, what: &str) -> anyhow::Error {
        anyhow::anyhow!(
            "{} failed to {what}: status {}: {}",
            self.kind,
            answer.status,
            answer.text()
        )
    }
}

/// Loads images where they are absent, does something, and removes those again, also after a
/// failure.
pub(crate) fn with_images<T>(
    engines: &[Engine],
    images: &[(&Path, &str)],
    action: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mut loaded = Vec::new();
    let result = (|| {
        for engine in engines {
            for (archive, name) in images {
                if engine.has_image(name)? {
                    println!("{}: {name} is there", engine.kind);
                    continue;
                }
                // Before the call: one that fails half-way may have made the image.
                loaded.push((engine, *name));
                engine.load(archive, name)?;
                println!("{}: {name} loaded", engine.kind);
            }
        }
        action()
    })();
    let mut failures = Vec::new();
    for (engine, name) in loaded {
        match engine.remove_image(name) {
            Ok(()) => println!("{}: {name} removed again", engine.kind),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    match (result, failures.is_empty()) {
        (result, true) => result,
        (Ok(_), false) => bail!("{}", failures.join("\n")),
        (Err(error), false) => Err(error.context(failures.join("\n"))),
    }
}

fn list(
    listed: &Value,
    what: &'static str,
    id: &'static str,
    name: &'static str,
) -> impl Iterator<Item = Object> {
    let entries = listed.as_array().cloned().unwrap_or_default();
    entries.into_iter().map(move |entry| Object {
        what,
        id: entry[id].as_str().unwrap_or_default().to_owned(),
        name: match &entry[name] {
            Value::Array(names) => names
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(", "),
            other => other.as_str().unwrap_or_default().to_owned(),
        },
    })
}

/// Percent-encodes what a query cannot hold (RFC 3986, section 2.1).
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_known_by_id_and_name() {
        let listed = json!([
            {"Id": "sha256:0123456789abcdef", "RepoTags": ["a:1", "b:2"]},
            {"Id": "sha256:fedcba9876543210", "RepoTags": null},
        ]);
        let shown: Vec<_> = list(&listed, "image", "Id", "RepoTags")
            .map(|object| object.to_string())
            .collect();
        assert_eq!(
            shown,
            ["image 0123456789ab a:1, b:2", "image fedcba987654 "]
        );
        assert_eq!(list(&Value::Null, "volume", "Name", "Driver").count(), 0);
    }

    #[test]
    fn a_query_holds_only_what_it_may() {
        assert_eq!(
            escape("{\"a\":[\"b.c=d\"]}"),
            "%7B%22a%22%3A%5B%22b.c%3Dd%22%5D%7D"
        );
    }
}
