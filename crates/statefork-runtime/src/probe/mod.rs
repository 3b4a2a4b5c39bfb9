//! Finding out what a runtime can do by doing it, in the same way for every runtime.
//!
//! A backend's [`Runtime::probe`](crate::Runtime::probe) calls [`by_doing`] on itself. A tiny
//! image is made in memory and imported, so that no image, registry or shell is needed.

mod archive;
mod checks;
mod outcome;
mod program;
mod run;

use std::future::Future;
use std::net::SocketAddr;

use self::run::Run;
use crate::{Capabilities, Captures, Containers, Images, ObjectId, ObjectType, Result, Support};

/// Imports a small image, runs containers from it, and does in them what each capability
/// promises; then removes all of it.
///
/// `reach` tries to open a TCP connection to an address of a container and says whether it could;
/// it ends within a second or so. `layer_limit` is passed on, since finding it takes a hundred
/// captures.
///
/// Errors: `Unreachable`, `PermissionDenied`, and a failed clean-up; whatever else fails is a
/// [`Support::No`].
pub async fn by_doing<R, F, Reached>(
    runtime: &R,
    object: &ObjectId,
    reach: F,
    layer_limit: Option<u32>,
) -> Result<Capabilities>
where
    R: Images + Containers + Captures + ?Sized,
    F: Fn(SocketAddr) -> Reached + Send + Sync,
    Reached: Future<Output = bool> + Send,
{
    let all_no = |reason: String| Capabilities {
        filesystem: Support::no(reason.clone()),
        pause: Support::no(reason.clone()),
        limits: Support::no(reason.clone()),
        build: Support::no(reason.clone()),
        reachable: Support::no(reason.clone()),
        publish: Support::no(reason.clone()),
        programs: Support::no(reason.clone()),
        init: Support::no(reason),
        layer_limit,
    };
    let Some((program, architecture)) = program::for_this_machine() else {
        return Ok(all_no(format!(
            "there is no probe program for the architecture {}",
            std::env::consts::ARCH
        )));
    };
    let run = Run::new(runtime, object);
    let archive = match archive::docker_archive(
        &program,
        architecture,
        &run.image("base"),
        &run.labels(ObjectType::Build),
    ) {
        Ok(archive) => archive,
        Err(error) => return Ok(all_no(format!("make the probe's image: {error}"))),
    };

    let probed = match runtime.import_image(checks::one_piece(archive)).await {
        Ok(image) => {
            let base = runtime.of_image(&image);
            // Concurrent, since most of the time is spent in waiting for the daemon.
            let (main, limits, publish, init, build) = tokio::join!(
                run.main(&base, &reach),
                run.limits(&base),
                run.publish(&base),
                run.init(&base),
                run.build()
            );
            main.and_then(|main| {
                Ok(Capabilities {
                    filesystem: main.filesystem,
                    pause: main.pause,
                    limits: limits?,
                    build: build?,
                    reachable: main.reachable,
                    publish: publish?,
                    programs: main.programs,
                    init: init?,
                    layer_limit,
                })
            })
        }
        Err(error) => outcome::reason(error).map(all_no),
    };
    match (probed, run.clean_up().await) {
        (Ok(capabilities), cleaned) => cleaned.map(|()| capabilities),
        (Err(first), cleaned) => Err(first.and_then(cleaned)),
    }
}

/// Removes what a probe of this object has left that was cut off; nothing is no error.
///
/// Errors: `Unreachable`, `PermissionDenied`, and what the runtime refuses to remove.
pub async fn remove_remains<R>(runtime: &R, object: &ObjectId) -> Result<()>
where
    R: Images + Containers + Captures + ?Sized,
{
    Run::new(runtime, object).clean_up().await
}
