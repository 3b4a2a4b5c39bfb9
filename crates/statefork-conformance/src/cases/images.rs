//! Looking up, importing, building, preparing and removing images.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use serde_json::json;
use statefork_runtime::{
    BuildRequest, ContainerPort, ContainerSpec, ErrorKind, ImageId, ObjectKind, ObjectType,
    Protocol, RuntimeError,
};

use crate::case::{Case, Failure, Outcome, cases, check, check_eq, fails_with};
use crate::fixture::{Fixture, one_piece};
use crate::image::{Draft, tar};

pub(super) const CASES: &[Case] = cases![Images:
    an_image_is_found_by_name_or_id,
    an_absent_image_is_none,
    the_configuration_is_read,
    layers_and_bytes_are_counted,
    named_images_are_listed,
    garbage_is_no_image,
    an_import_moves_its_name,
    prepare_returns_an_image_without_volumes_itself,
    prepare_gives_volumes_back_to_the_container,
    prepare_of_an_absent_image_is_refused,
    removing_one_name_leaves_the_others,
    removing_the_last_name_removes_the_image,
    removing_by_id_removes_all_names,
    removing_an_absent_image_is_success,
    an_image_in_use_is_not_removed,
    a_build_makes_an_image [Build],
    a_build_takes_any_dockerfile_and_arguments [Build],
    a_failed_build_shows_its_last_lines [Build],
    a_built_image_is_exported [Build],
];

async fn exists(f: &Fixture, name: &str) -> Outcome<bool> {
    Ok(f.runtime().inspect_image(name).await?.is_some())
}

async fn an_image_is_found_by_name_or_id(f: &Fixture) -> Outcome {
    let (id, name) = f.import(Draft::default()).await?;
    for by in [name.as_str(), id.as_str()] {
        let Some(image) = f.runtime().inspect_image(by).await? else {
            return Err(Failure::new(format!("{by} is not found")));
        };
        check_eq!(image.id, id, "the id by {by}");
        check_eq!(image.names, [name.as_str()], "the names by {by}");
    }
    Ok(())
}

async fn an_absent_image_is_none(f: &Fixture) -> Outcome {
    let id = format!("sha256:{:064x}", 1);
    for absent in [format!("statefork.local/{}:1", f.absent()), id] {
        let image = f.runtime().inspect_image(&absent).await?;
        check!(image.is_none(), "{absent} is {image:?}");
    }
    Ok(())
}

async fn the_configuration_is_read(f: &Fixture) -> Outcome {
    let draft = Draft {
        config: json!({
            "Entrypoint": ["/bin/echo", "a b"],
            "Cmd": ["c"],
            "Env": ["PATH=/bin", "X=y=z"],
            "User": "nobody",
            "WorkingDir": "/etc",
            "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
            "Volumes": {"/var/b": {}, "/var/a": {}},
        }),
        ..Draft::default()
    };
    let (id, _) = f.import(draft).await?;
    let Some(image) = f.runtime().inspect_image(id.as_str()).await? else {
        return Err(Failure::new("it is not found"));
    };
    let config = image.config;
    check_eq!(config.entrypoint, ["/bin/echo", "a b"], "entry point");
    check_eq!(config.command, ["c"], "command");
    let env: Vec<_> = config
        .env
        .iter()
        .map(|variable| format!("{}={}", variable.name, variable.value))
        .collect();
    check_eq!(env, ["PATH=/bin", "X=y=z"], "variables");
    check_eq!(config.user.as_deref(), Some("nobody"), "user");
    check_eq!(config.workdir, Some("/etc".into()), "working directory");
    let udp = ContainerPort {
        port: 53,
        protocol: Protocol::Udp,
    };
    let ports = [udp, ContainerPort::tcp(8080)];
    check_eq!(config.exposed_ports, ports, "ports");
    let volumes: Vec<_> = config.volumes.iter().filter_map(|v| v.to_str()).collect();
    check_eq!(volumes, ["/var/a", "/var/b"], "volumes");
    let home = config.labels.get(statefork_runtime::LABEL_HOME);
    check_eq!(home.map(String::as_str), Some(f.home.as_str()), "label");
    Ok(())
}

async fn layers_and_bytes_are_counted(f: &Fixture) -> Outcome {
    let text = "x".repeat(5000);
    let (more, _) = f
        .import(Draft {
            files: &[("more", &text)],
            ..Draft::default()
        })
        .await?;
    let base = f.runtime().inspect_image(f.image().as_str()).await?;
    let more = f.runtime().inspect_image(more.as_str()).await?;
    let (Some(base), Some(more)) = (base, more) else {
        return Err(Failure::new("an image is not found"));
    };
    check_eq!(more.layers, base.layers + 1, "the layers");
    let added = more.size_bytes.saturating_sub(base.size_bytes);
    check!(
        (5000..100_000).contains(&added),
        "5000 bytes more are {added}"
    );
    Ok(())
}

async fn named_images_are_listed(f: &Fixture) -> Outcome {
    let second = f.image_name();
    let (unnamed, former) = f.import(Draft::default()).await?;
    let moved = Draft {
        names: vec![former.clone(), second.clone()],
        ..Draft::default()
    };
    let (id, _) = f.import(moved).await?;
    let listed = f.runtime().list_images().await?;
    f.runtime().remove_image(unnamed.as_str()).await?;
    let Some(image) = f.runtime().inspect_image(id.as_str()).await? else {
        return Err(Failure::new("it is not found"));
    };
    let entries: Vec<_> = listed.iter().filter(|entry| entry.id == id).collect();
    check_eq!(entries, [&image], "its entries");
    check!(
        image.names.contains(&former) && image.names.contains(&second),
        "its names are {:?}",
        image.names
    );
    check!(
        listed.iter().all(|entry| entry.id != unnamed),
        "one without a name is listed"
    );
    check!(
        listed.iter().any(|entry| &entry.id == f.image()),
        "another is not listed"
    );
    check!(
        listed.is_sorted_by(|a, b| a.names.first() <= b.names.first()),
        "the order of {listed:?}"
    );
    Ok(())
}

async fn garbage_is_no_image(f: &Fixture) -> Outcome {
    let other = tar(&[("readme", "no image")])?;
    for (what, bytes) in [("noise", vec![0xa5; 4096]), ("another archive", other)] {
        let imported = f.runtime().import_image(one_piece(bytes)).await;
        fails_with(what, imported, &[ErrorKind::Invalid])?;
    }
    Ok(())
}

async fn an_import_moves_its_name(f: &Fixture) -> Outcome {
    let (former, name) = f.import(Draft::default()).await?;
    let again = Draft {
        names: vec![name.clone()],
        ..Draft::default()
    };
    let (latter, _) = f.import(again).await?;
    let found = f.runtime().inspect_image(&name).await?;
    check_eq!(
        found.map(|image| image.id),
        Some(latter),
        "the name's image"
    );
    f.runtime().remove_image(former.as_str()).await?;
    check!(!exists(f, former.as_str()).await?, "the former is there");
    check!(exists(f, &name).await?, "the latter went with the former");
    Ok(())
}

async fn prepare_returns_an_image_without_volumes_itself(f: &Fixture) -> Outcome {
    let request = f.prepare_request();
    let prepared = f.runtime().prepare_image(f.image(), &request).await?;
    check_eq!(&prepared, f.image(), "the prepared image");
    check!(!exists(f, &request.name).await?, "an image was made");
    Ok(())
}

async fn prepare_gives_volumes_back_to_the_container(f: &Fixture) -> Outcome {
    let draft = Draft {
        config: json!({"Volumes": {"/var/data": {}}}),
        files: &[("var/data/seed", "seed")],
        ..Draft::default()
    };
    let (image, _) = f.import(draft).await?;
    let request = f.prepare_request();
    let prepared = f.runtime().prepare_image(&image, &request).await?;
    let capture = f.runtime().of_image(&prepared);
    let container = f.launch_from(&capture, f.spec("serve")).await?;
    check_eq!(container.mounts, [], "its mounts");
    f.told(&container, "write /var/data/new text").await?;
    let capture = f.capture(&container).await?;
    f.runtime().remove(&container.id).await?;
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    check_eq!(back.mounts, [], "its mounts after");
    let seed = f.file(&back, "/var/data/seed").await?;
    check_eq!(seed.as_deref(), Some("seed"), "the image's file");
    let new = f.file(&back, "/var/data/new").await?;
    check_eq!(new.as_deref(), Some("text"), "the container's file");
    Ok(())
}

async fn prepare_of_an_absent_image_is_refused(f: &Fixture) -> Outcome {
    let absent = ImageId::new(format!("sha256:{:064x}", 1));
    let prepared = f
        .runtime()
        .prepare_image(&absent, &f.prepare_request())
        .await;
    let absent = ErrorKind::NotFound(ObjectKind::Image);
    fails_with("prepare", prepared, &[absent])
}

async fn removing_one_name_leaves_the_others(f: &Fixture) -> Outcome {
    let other = f.image_name();
    let draft = Draft {
        names: vec![other.clone()],
        ..Draft::default()
    };
    let (id, name) = f.import(draft).await?;
    f.runtime().remove_image(&name).await?;
    check!(!exists(f, &name).await?, "the name is there");
    let found = f.runtime().inspect_image(&other).await?;
    check_eq!(found.map(|image| image.id), Some(id), "the other name");
    Ok(())
}

async fn removing_the_last_name_removes_the_image(f: &Fixture) -> Outcome {
    let (id, name) = f.import(Draft::default()).await?;
    f.runtime().remove_image(&name).await?;
    check!(!exists(f, id.as_str()).await?, "the image is there");
    Ok(())
}

async fn removing_by_id_removes_all_names(f: &Fixture) -> Outcome {
    let other = f.image_name();
    let draft = Draft {
        names: vec![other.clone()],
        ..Draft::default()
    };
    let (id, name) = f.import(draft).await?;
    f.runtime().remove_image(id.as_str()).await?;
    for gone in [id.as_str(), &name, &other] {
        check!(!exists(f, gone).await?, "{gone} is there");
    }
    Ok(())
}

async fn removing_an_absent_image_is_success(f: &Fixture) -> Outcome {
    let id = format!("sha256:{:064x}", 1);
    f.runtime().remove_image(&id).await?;
    let name = format!("statefork.local/{}:1", f.absent());
    f.runtime().remove_image(&name).await?;
    Ok(())
}

async fn an_image_in_use_is_not_removed(f: &Fixture) -> Outcome {
    let (id, name) = f.import(Draft::default()).await?;
    let capture = f.runtime().of_image(&id);
    let container = f.launch_from(&capture, f.spec("serve")).await?;
    for by in [name.as_str(), id.as_str()] {
        let removed = f.runtime().remove_image(by).await;
        fails_with("the removal", removed, &[ErrorKind::Conflict])?;
    }
    check!(exists(f, &name).await?, "its name is gone");
    f.runtime().remove(&container.id).await?;
    f.runtime().remove_image(&name).await?;
    check!(!exists(f, id.as_str()).await?, "it is there at the end");
    Ok(())
}

fn build(f: &Fixture, dockerfile: (&str, &str)) -> Outcome<BuildRequest> {
    let text = format!("FROM {}\n{}", f.shared().image_name, dockerfile.1);
    let context = tar(&[(dockerfile.0, text.as_str()), ("data", "from the context")])?;
    Ok(BuildRequest {
        context: one_piece(context),
        dockerfile: dockerfile.0.into(),
        args: BTreeMap::new(),
        name: f.image_name(),
        labels: f.labels(ObjectType::Build),
    })
}

async fn a_build_makes_an_image(f: &Fixture) -> Outcome {
    let request = build(
        f,
        ("Dockerfile", "COPY data /data\nRUN echo builder-says\n"),
    )?;
    let (name, labels) = (request.name.clone(), request.labels.clone());
    let mut lines = Vec::new();
    let id = f
        .runtime()
        .build_image(request, &mut |line| lines.push(line.to_owned()))
        .await?;
    check!(
        lines.iter().any(|line| line.contains("builder-says")),
        "the builder's output is {lines:?}"
    );
    check!(
        lines.iter().all(|line| !line.contains('\n')),
        "not line by line: {lines:?}"
    );
    let Some(image) = f.runtime().inspect_image(&name).await? else {
        return Err(Failure::new("it has not its name"));
    };
    check_eq!(image.id, id, "its id");
    for (label, value) in &labels {
        check_eq!(image.config.labels.get(label), Some(value), "label {label}");
    }
    let container = f
        .launch_from(&f.runtime().of_image(&id), f.spec("serve"))
        .await?;
    let data = f.file(&container, "/data").await?;
    check_eq!(data.as_deref(), Some("from the context"), "its file");
    Ok(())
}

async fn a_build_takes_any_dockerfile_and_arguments(f: &Fixture) -> Outcome {
    let text = "ARG WHO=nobody\nENV GREETED=$WHO\nCMD [\"sh\", \"-c\", \"echo $GREETED\"]\n";
    let mut request = build(f, ("docker/Dockerfile.other", text))?;
    request.args.insert("WHO".into(), "world".into());
    let id = f.runtime().build_image(request, &mut |_| ()).await?;
    let container = f
        .launch_from(&f.runtime().of_image(&id), ContainerSpec::default())
        .await?;
    f.until_said(&container, "world").await
}

async fn a_failed_build_shows_its_last_lines(f: &Fixture) -> Outcome {
    let request = build(f, ("Dockerfile", "RUN echo first-sign; exit 7\n"))?;
    let name = request.name.clone();
    match f.runtime().build_image(request, &mut |_| ()).await {
        Err(RuntimeError::BuildFailed { tail, .. }) => check!(
            tail.iter().any(|line| line.contains("first-sign")),
            "the last lines are {tail:?}"
        ),
        other => fails_with("the build", other, &[ErrorKind::BuildFailed])?,
    }
    check!(!exists(f, &name).await?, "its name is there");
    Ok(())
}

async fn a_built_image_is_exported(f: &Fixture) -> Outcome {
    let request = build(f, ("Dockerfile", "COPY data /data\n"))?;
    let name = request.name.clone();
    let id = f.runtime().build_image(request, &mut |_| ()).await?;
    let mut archive = Vec::new();
    let mut exported = f.runtime().export_image(&name).await?;
    while let Some(piece) = exported.try_next().await? {
        archive.extend_from_slice(&piece);
    }
    f.runtime().remove_image(id.as_str()).await?;
    let absent = ErrorKind::NotFound(ObjectKind::Image);
    fails_with(
        "an export",
        f.runtime().export_image(&name).await,
        &[absent],
    )?;
    let again = f.runtime().import_image(one_piece(archive)).await?;
    check!(exists(f, &name).await?, "it came without its name");
    let container = f
        .launch_from(&f.runtime().of_image(&again), f.spec("serve"))
        .await?;
    let data = f.file(&container, "/data").await?;
    check_eq!(data.as_deref(), Some("from the context"), "its file");
    Ok(())
}
