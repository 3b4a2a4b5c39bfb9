//! Images: a configuration, names, and a chain of layers.

use rusqlite::{OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};
use statefork_runtime::{
    Found, HomeId, ImageConfig, ImageId, LABEL_HOME, LABEL_OBJECT, LABEL_TYPE, Labels, ObjectId,
    ObjectKind, ObjectType, Result, RuntimeError,
};

use super::layers::{Draft, chain, publish, set_chain};
use super::{Books, Failure, LayerId};

/// The configuration of an image as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredConfig {
    /// What the contract tells of it, the labels included.
    pub(crate) image: ImageConfig,
    /// `StopSignal`.
    pub(crate) stop_signal: Option<i32>,
}

/// An image as the books have it.
#[derive(Clone, Debug)]
pub(crate) struct ImageRecord {
    /// Its id.
    pub(crate) id: ImageId,
    /// Its names with tags, sorted.
    pub(crate) names: Vec<String>,
    /// Its configuration.
    pub(crate) config: StoredConfig,
    /// Its layers, the lowest first.
    pub(crate) layers: Vec<LayerId>,
}

/// An image to be entered.
#[derive(Debug)]
pub(crate) struct NewImage<'a> {
    /// Its id; one that is there already gets the names, and nothing else of it changes.
    pub(crate) id: &'a ImageId,
    /// Its names with tags.
    pub(crate) names: &'a [String],
    /// Whether a name that another image has is taken from that, or refused as a conflict.
    pub(crate) move_names: bool,
    /// Its configuration.
    pub(crate) config: &'a StoredConfig,
    /// All its layers, the lowest first.
    pub(crate) layers: &'a [LayerId],
    /// Those of them that are only drafted: whole and durable, but not published yet.
    pub(crate) drafts: &'a [Draft],
}

fn owner(image: &ImageId) -> String {
    format!("i:{image}")
}

/// The chain of an image.
pub(super) fn layers_of(books: &Transaction<'_>, image: &ImageId) -> Result<Vec<LayerId>, Failure> {
    chain(books, &owner(image))
}

/// Enters an image within a transaction.
pub(super) fn enter(books: &Transaction<'_>, new: &NewImage<'_>) -> Result<(), Failure> {
    let is_new = books.execute(
        "INSERT INTO image (id, config) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [new.id.as_str(), &serde_json::to_string(new.config)?],
    )? > 0;
    for name in new.names {
        let holder: Option<String> = books
            .query_row("SELECT image FROM name WHERE name = ?", [name], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(holder) = holder
            && !new.move_names
        {
            return Err(Failure::Said(RuntimeError::Conflict {
                object: ObjectKind::Image,
                name: name.clone(),
                reason: format!("the name belongs to image {}", ImageId::new(holder).short()),
            }));
        }
        books.execute(
            "INSERT INTO name (name, image) VALUES (?, ?)
             ON CONFLICT (name) DO UPDATE SET image = excluded.image",
            [name, new.id.as_str()],
        )?;
    }
    if is_new {
        let mut layers = new.layers.to_vec();
        for draft in new.drafts {
            let published = publish(books, draft)?;
            for layer in &mut layers {
                if *layer == draft.layer {
                    *layer = published;
                }
            }
        }
        // Whoever had them may have removed them since they were looked up.
        let mut made = books.prepare("SELECT 1 FROM layer WHERE id = ? AND state = 'made'")?;
        for layer in &layers {
            if !made.exists([layer.0])? {
                return Err(Failure::Said(RuntimeError::NotFound {
                    object: ObjectKind::Image,
                    name: format!("with layer {layer}"),
                }));
            }
        }
        set_chain(books, &owner(new.id), &layers)?;
    }
    Ok(())
}

impl Books {
    /// The image with this name, or name without `:latest`, or id.
    pub(crate) fn image(&self, name: &str) -> Result<Option<ImageRecord>> {
        self.look("look an image up", |books| {
            let Some(id) = resolve(books, name)? else {
                return Ok(None);
            };
            read(books, id)
        })
    }

    /// Every image that has a name, sorted by its first one.
    pub(crate) fn named_images(&self) -> Result<Vec<ImageRecord>> {
        self.look("list the images", |books| {
            let ids = books
                .prepare("SELECT image FROM name GROUP BY image ORDER BY min(name)")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            let mut images = Vec::with_capacity(ids.len());
            for id in ids {
                images.extend(read(books, id)?);
            }
            Ok(images)
        })
    }

    /// Enters an image, publishes its drafted layers, and says whether the layers are its own now:
    /// not so where the image was there already, whose layers then stay, and the drafts may go.
    ///
    /// Errors: `Conflict` for a taken name.
    pub(crate) fn add_image(&self, new: &NewImage<'_>) -> Result<()> {
        self.change("enter an image", |books| enter(books, new))
    }

    /// Takes a name off its image, and the image off the books when that was its last name; or the
    /// image of an id with all its names. Absent is success.
    ///
    /// Errors: `Conflict` while a container was made from it and it would go.
    pub(crate) fn remove_image(&self, name: &str) -> Result<()> {
        self.change("remove an image", |books| {
            let Some(id) = resolve(books, name)? else {
                return Ok(());
            };
            if id != name {
                let names: i64 =
                    books.query_row("SELECT count(*) FROM name WHERE image = ?", [&id], |row| {
                        row.get(0)
                    })?;
                if names > 1 {
                    books.execute("DELETE FROM name WHERE name = ?", [full_name(name)])?;
                    return Ok(());
                }
            }
            let user: Option<String> = books
                .query_row(
                    "SELECT name FROM container WHERE image = ? ORDER BY name LIMIT 1",
                    [&id],
                    |row| row.get(0),
                )
                .optional()?;
            if let Some(user) = user {
                return Err(Failure::Said(RuntimeError::Conflict {
                    object: ObjectKind::Image,
                    name: name.to_owned(),
                    reason: format!("container {user} was made from it"),
                }));
            }
            books.execute("DELETE FROM name WHERE image = ?", [&id])?;
            set_chain(books, &owner(&ImageId::new(&id)), &[])?;
            books.execute("DELETE FROM image WHERE id = ?", [&id])?;
            Ok(())
        })
    }

    /// The names of all images with the home's label, or their ids where they have none.
    pub(super) fn found_images(
        books: &Transaction<'_>,
        home: &HomeId,
    ) -> Result<Vec<Found>, Failure> {
        let mut query = books.prepare("SELECT id, config FROM image")?;
        let mut rows = query.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            let config: StoredConfig = serde_json::from_str(&row.get::<_, String>(1)?)?;
            let labels = config.image.labels;
            if labels.get(LABEL_HOME).map(String::as_str) != Some(home.as_str()) {
                continue;
            }
            let (kind, object) = marks(&labels);
            let mut names = names_of(books, &id)?;
            if names.is_empty() {
                names.push(id);
            }
            found.extend(names.into_iter().map(|name| Found::Image {
                name,
                kind,
                object: object.clone(),
            }));
        }
        Ok(found)
    }
}

/// What the labels say of an object of ours.
pub(super) fn marks(labels: &Labels) -> (Option<ObjectType>, Option<ObjectId>) {
    (
        labels
            .get(LABEL_TYPE)
            .and_then(|text| ObjectType::parse(text)),
        labels.get(LABEL_OBJECT).map(ObjectId::new),
    )
}

/// A name with its tag: `latest` unless it has one.
pub(crate) fn full_name(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

fn resolve(books: &Transaction<'_>, name: &str) -> Result<Option<String>, Failure> {
    let found = books
        .query_row(
            "SELECT id FROM image WHERE id = ?1
             UNION ALL SELECT image FROM name WHERE name = ?2",
            [name, &full_name(name)],
            |row| row.get(0),
        )
        .optional()?;
    Ok(found)
}

fn names_of(books: &Transaction<'_>, id: &str) -> Result<Vec<String>, Failure> {
    let names = books
        .prepare_cached("SELECT name FROM name WHERE image = ? ORDER BY name")?
        .query_map([id], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(names)
}

fn read(books: &Transaction<'_>, id: String) -> Result<Option<ImageRecord>, Failure> {
    let config: Option<String> = books
        .query_row("SELECT config FROM image WHERE id = ?", [&id], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(config) = config else {
        return Ok(None);
    };
    let names = names_of(books, &id)?;
    let id = ImageId::new(id);
    Ok(Some(ImageRecord {
        layers: layers_of(books, &id)?,
        config: serde_json::from_str(&config)?,
        names,
        id,
    }))
}
