//! Containers: what they were made from and with.

use std::net::Ipv4Addr;

use rusqlite::{OptionalExtension, Transaction, params};
use statefork_runtime::{
    ContainerId, ContainerSpec, Found, HomeId, ImageId, LABEL_HOME, Labels, ObjectKind, Result,
    RuntimeError,
};

use super::images::{NewImage, enter, layers_of, marks};
use super::layers::{chain, set_chain};
use super::{Books, Failure, LayerId};
use crate::network::Subnet;

/// A container as the books have it.
#[derive(Clone, Debug)]
pub(crate) struct ContainerRecord {
    /// Its id, 64 hexadecimal digits.
    pub(crate) id: ContainerId,
    /// Its name.
    pub(crate) name: String,
    /// The image that it was made from.
    pub(crate) image: ImageId,
    /// The settings that it was made with.
    pub(crate) spec: ContainerSpec,
    /// Its labels.
    pub(crate) labels: Labels,
    /// Its address, where it has one of its own.
    pub(crate) address: Option<Ipv4Addr>,
    /// The layers below its writable one, the lowest first.
    pub(crate) layers: Vec<LayerId>,
    /// The layers of which its last capture consists; `layers` before the first.
    pub(crate) captured: Vec<LayerId>,
    /// How often it has been captured.
    pub(crate) captures: u64,
}

/// A container to be entered.
#[derive(Debug)]
pub(crate) struct NewContainer<'a> {
    /// Its id, new.
    pub(crate) id: &'a ContainerId,
    /// Its name.
    pub(crate) name: &'a str,
    /// The image that it is made from.
    pub(crate) image: &'a ImageId,
    /// Its settings.
    pub(crate) spec: &'a ContainerSpec,
    /// Its labels.
    pub(crate) labels: &'a Labels,
    /// The addresses of which it gets one that no other container has; none where it needs none.
    pub(crate) addresses: Option<Subnet>,
}

fn launched(container: &ContainerId) -> String {
    format!("c:{container}")
}

fn captured(container: &ContainerId) -> String {
    format!("b:{container}")
}

impl Books {
    /// Enters a container with the layers of its image, and gives it an address.
    ///
    /// Errors: `NotFound(Image)`; `Conflict` for a taken name.
    pub(crate) fn add_container(&self, new: &NewContainer<'_>) -> Result<ContainerRecord> {
        self.change("enter a container", |books| {
            let holder: Option<String> = books
                .query_row(
                    "SELECT id FROM container WHERE name = ?",
                    [new.name],
                    |row| row.get(0),
                )
                .optional()?;
            if let Some(holder) = holder {
                return Err(Failure::Said(RuntimeError::Conflict {
                    object: ObjectKind::Container,
                    name: new.name.to_owned(),
                    reason: format!(
                        "the name belongs to container {}",
                        ContainerId::new(holder).short()
                    ),
                }));
            }
            let exists = books
                .query_row(
                    "SELECT 1 FROM image WHERE id = ?",
                    [new.image.as_str()],
                    |_| Ok(()),
                )
                .optional()?;
            if exists.is_none() {
                return Err(Failure::Said(RuntimeError::NotFound {
                    object: ObjectKind::Image,
                    name: new.image.to_string(),
                }));
            }
            let address = match new.addresses {
                Some(subnet) => Some(free_address(books, subnet)?),
                None => None,
            };
            books.execute(
                "INSERT INTO container (id, name, image, spec, labels, address)
                 VALUES (?, ?, ?, ?, ?, ?)",
                params![
                    new.id.as_str(),
                    new.name,
                    new.image.as_str(),
                    serde_json::to_string(new.spec)?,
                    serde_json::to_string(new.labels)?,
                    address.map(|address| address.to_string()),
                ],
            )?;
            let layers = layers_of(books, new.image)?;
            set_chain(books, &launched(new.id), &layers)?;
            Ok(ContainerRecord {
                id: new.id.clone(),
                name: new.name.to_owned(),
                image: new.image.clone(),
                spec: new.spec.clone(),
                labels: new.labels.clone(),
                address,
                captured: layers.clone(),
                layers,
                captures: 0,
            })
        })
    }

    /// The container with this id or name.
    pub(crate) fn container(&self, container: &ContainerId) -> Result<Option<ContainerRecord>> {
        self.look("look a container up", |books| {
            let row = books
                .query_row(
                    "SELECT id, name, image, spec, labels, address, captures FROM container
                     WHERE id = ?1 OR name = ?1 ORDER BY id <> ?1 LIMIT 1",
                    [container.as_str()],
                    |row| {
                        Ok((
                            row.get::<_, String>(0)?,
                            row.get::<_, String>(1)?,
                            row.get::<_, String>(2)?,
                            row.get::<_, String>(3)?,
                            row.get::<_, String>(4)?,
                            row.get::<_, Option<String>>(5)?,
                            row.get::<_, u64>(6)?,
                        ))
                    },
                )
                .optional()?;
            let Some((id, name, image, spec, labels, address, captures)) = row else {
                return Ok(None);
            };
            let id = ContainerId::new(id);
            let layers = chain(books, &launched(&id))?;
            let last = chain(books, &captured(&id))?;
            Ok(Some(ContainerRecord {
                captured: if captures == 0 { layers.clone() } else { last },
                layers,
                name,
                image: ImageId::new(image),
                spec: serde_json::from_str(&spec)?,
                labels: serde_json::from_str(&labels)?,
                // Only we write it.
                address: address.and_then(|address| address.parse().ok()),
                captures,
                id,
            }))
        })
    }

    /// Enters the image that a capture of `container` made, whose writable layer had been captured
    /// `before` times. The next capture goes on from it.
    ///
    /// Errors: `Conflict` for a taken name; `NotFound` if the container has gone.
    pub(crate) fn add_capture(
        &self,
        container: &ContainerId,
        before: u64,
        new: &NewImage<'_>,
    ) -> Result<()> {
        self.change("enter a capture", |books| {
            let changed = books.execute(
                "UPDATE container SET captures = ?1 + 1 WHERE id = ?2 AND captures = ?1",
                params![before, container.as_str()],
            )?;
            if changed == 0 {
                return Err(Failure::Said(RuntimeError::NotFound {
                    object: ObjectKind::Container,
                    name: container.to_string(),
                }));
            }
            enter(books, new)?;
            set_chain(books, &captured(container), new.layers)
        })
    }

    /// Takes a container off the books. Absent is success.
    pub(crate) fn remove_container(&self, container: &ContainerId) -> Result<()> {
        self.change("remove a container", |books| {
            set_chain(books, &launched(container), &[])?;
            set_chain(books, &captured(container), &[])?;
            books.execute("DELETE FROM container WHERE id = ?", [container.as_str()])?;
            Ok(())
        })
    }

    /// How many containers besides this one have an address of their own.
    pub(crate) fn addressed_beside(&self, container: &ContainerId) -> Result<u64> {
        self.look("count the addresses", |books| {
            let count = books.query_row(
                "SELECT count(*) FROM container WHERE address IS NOT NULL AND id != ?",
                [container.as_str()],
                |row| row.get(0),
            )?;
            Ok(count)
        })
    }

    /// Everything with the home's label, sorted.
    pub(crate) fn find(&self, home: &HomeId) -> Result<Vec<Found>> {
        self.look("look for what is ours", |books| {
            let mut found = Self::found_images(books, home)?;
            let mut query = books.prepare("SELECT id, labels FROM container")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let labels: Labels = serde_json::from_str(&row.get::<_, String>(1)?)?;
                if labels.get(LABEL_HOME).map(String::as_str) == Some(home.as_str()) {
                    let (kind, object) = marks(&labels);
                    found.push(Found::Container {
                        id: ContainerId::new(row.get::<_, String>(0)?),
                        kind,
                        object,
                    });
                }
            }
            found.sort();
            Ok(found)
        })
    }
}

/// The lowest address of `subnet` that no container has.
fn free_address(books: &Transaction<'_>, subnet: Subnet) -> Result<Ipv4Addr, Failure> {
    let taken = books
        .prepare("SELECT address FROM container WHERE address IS NOT NULL")?
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<std::collections::HashSet<_>>>()?;
    subnet
        .addresses()
        .find(|address| !taken.contains(&address.to_string()))
        .ok_or_else(|| {
            Failure::Said(RuntimeError::Unsupported {
                op: "give the container an address",
                reason: format!("all addresses of {subnet} are taken"),
            })
        })
}
