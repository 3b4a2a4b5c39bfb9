//! Finding what is ours, and leaving nothing behind.

use statefork_runtime::{
    ContainerId, ContainerSpec, ErrorKind, Found, HomeId, ObjectId, ObjectType, Phases,
};

use crate::case::{Case, Outcome, cases, check, check_eq, fails_with};
use crate::fixture::Fixture;
use crate::image::Draft;

pub(super) const CASES: &[Case] = cases![Cleanup:
    what_was_made_is_found,
    other_homes_are_not_found,
    inherited_labels_are_found,
    an_untagged_image_is_found_by_its_id,
    a_failed_start_leaves_nothing,
    a_refused_setting_leaves_nothing,
    a_refused_import_leaves_nothing,
];

fn object(labels: &statefork_runtime::Labels) -> Option<ObjectId> {
    labels
        .get(statefork_runtime::LABEL_OBJECT)
        .map(ObjectId::new)
}

async fn what_was_made_is_found(f: &Fixture) -> Outcome {
    let request = f.launch_request(f.spec("true"));
    let container = f
        .runtime()
        .launch(&f.base(), &request, &Phases::new())
        .await?;
    // Also in the state in which most tools leave a container out.
    f.exit(&container).await?;
    let captures = [f.capture_request(), f.capture_request()];
    for capture in &captures {
        f.capture_as(&container.id, capture).await?;
    }
    let mut expected = vec![Found::Container {
        id: container.id,
        kind: Some(ObjectType::Container),
        object: object(&request.labels),
    }];
    expected.extend(captures.iter().map(|capture| Found::Image {
        name: capture.name.clone(),
        kind: Some(ObjectType::Capture),
        object: object(&capture.labels),
    }));
    expected.sort();
    check_eq!(f.runtime().find(&f.home).await?, expected, "found");
    Ok(())
}

async fn other_homes_are_not_found(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.capture(&container).await?;
    // The beginning of our own name, as a sloppy filter would match.
    let other = HomeId::new(&f.home.as_str()[..f.home.as_str().len() - 1]);
    check_eq!(f.runtime().find(&other).await?, [], "found");
    Ok(())
}

async fn inherited_labels_are_found(f: &Fixture) -> Outcome {
    let (image, name) = f.import(Draft::default()).await?;
    let mut request = f.launch_request(f.spec("serve"));
    request.labels.clear();
    let capture = f.runtime().of_image(&image);
    let container = f
        .runtime()
        .launch(&capture, &request, &Phases::new())
        .await?;
    let found = f.runtime().find(&f.home).await?;
    let inherited = found.iter().any(|found| {
        matches!(found, Found::Container { id, kind, .. }
            if *id == container.id && *kind == Some(ObjectType::Build))
    });
    check!(inherited, "the container is not among {found:?}");
    let image = found
        .iter()
        .any(|found| matches!(found, Found::Image { name: own, .. } if *own == name));
    check!(image, "the image is not among {found:?}");
    Ok(())
}

async fn an_untagged_image_is_found_by_its_id(f: &Fixture) -> Outcome {
    let (former, name) = f.import(Draft::default()).await?;
    let again = Draft {
        names: vec![name],
        ..Draft::default()
    };
    f.import(again).await?;
    let found = f.runtime().find(&f.home).await?;
    let untagged = found
        .iter()
        .any(|found| matches!(found, Found::Image { name, .. } if name == former.as_str()));
    f.runtime().remove_image(former.as_str()).await?;
    check!(untagged, "{former} is not among {found:?}");
    Ok(())
}

async fn nothing_is_left(f: &Fixture, name: &str) -> Outcome {
    let container = f.runtime().inspect(&ContainerId::new(name)).await?;
    check!(container.is_none(), "it left {container:?}");
    check_eq!(f.runtime().find(&f.home).await?, [], "found");
    Ok(())
}

async fn a_failed_start_leaves_nothing(f: &Fixture) -> Outcome {
    let spec = ContainerSpec {
        command: Some(vec!["/no/such/program".into()]),
        ..ContainerSpec::default()
    };
    let mut request = f.launch_request(spec);
    let launched = f
        .runtime()
        .launch(&f.base(), &request, &Phases::new())
        .await;
    fails_with("the launch", launched, &[ErrorKind::StartFailed])?;
    nothing_is_left(f, &request.name).await?;
    // Nor is the name taken.
    request.spec = f.spec("serve");
    f.runtime()
        .launch(&f.base(), &request, &Phases::new())
        .await?;
    Ok(())
}

async fn a_refused_setting_leaves_nothing(f: &Fixture) -> Outcome {
    let spec = ContainerSpec {
        user: Some("stranger".into()),
        ..f.spec("serve")
    };
    let request = f.launch_request(spec);
    let launched = f
        .runtime()
        .launch(&f.base(), &request, &Phases::new())
        .await;
    // Some runtimes know the users only once the process starts.
    let kinds = [ErrorKind::Invalid, ErrorKind::StartFailed];
    fails_with("the launch", launched, &kinds)?;
    nothing_is_left(f, &request.name).await
}

async fn a_refused_import_leaves_nothing(f: &Fixture) -> Outcome {
    let draft = Draft {
        names: vec![f.image_name()],
        labels: f.labels(ObjectType::Build),
        ..Draft::default()
    };
    let mut archive = f.shared().base.archive(&draft)?;
    archive.truncate(archive.len() / 2);
    let imported = f
        .runtime()
        .import_image(crate::fixture::one_piece(archive))
        .await;
    check!(imported.is_err(), "half an archive is an image");
    check_eq!(f.runtime().find(&f.home).await?, [], "found");
    Ok(())
}
