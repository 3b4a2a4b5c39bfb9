//! Finding out what a runtime can do, so that nothing of it is left, whatever dies meanwhile.

use statefork_runtime::{Capabilities, ObjectId, Runtime, RuntimeError, probe};

use crate::error::{CoreError, Result};
use crate::process::ProcessIdentity;
use crate::store::{Store, random_id};

/// Probes a runtime, after what earlier probes have left whose processes ended.
pub(crate) async fn probe_runtime(store: &Store, runtime: &dyn Runtime) -> Result<Capabilities> {
    remove_remains(store, runtime).await?;
    let process = ProcessIdentity::current().map_err(|source| CoreError::Io {
        op: "read",
        path: "/proc/self/stat".into(),
        source,
    })?;
    let object = ObjectId::new(random_id());
    store.begin_probe(runtime.name(), &object, &process)?;
    let probed = runtime.probe(&object).await;
    // Where the clean-up failed, the next probe tries again.
    if !matches!(probed, Err(RuntimeError::Cleanup { .. })) {
        store.end_probe(&object)?;
    }
    Ok(probed?)
}

/// Removes what probes have left whose processes ended.
pub(crate) async fn remove_remains(store: &Store, runtime: &dyn Runtime) -> Result<()> {
    for (object, process) in store.begun_probes(runtime.name())? {
        if !process.is_alive() {
            probe::remove_remains(runtime, &object).await?;
            store.end_probe(&object)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use statefork_conformance::FakeRuntime;
    use statefork_runtime::Images;

    use super::*;
    use crate::home::Home;

    #[tokio::test]
    async fn what_a_probe_left_that_was_cut_off_goes_with_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let fake = FakeRuntime::new();
        let remains = |object: &str| {
            let image = format!("statefork.local/probe:{object}-base");
            fake.add_image(&image, Default::default(), &[]);
            image
        };
        let (dead, alive) = (remains("dead"), remains("alive"));
        let begin = |object: &str, process: ProcessIdentity| {
            home.store()
                .begin_probe(fake.name(), &ObjectId::new(object), &process)
                .unwrap();
        };
        begin("dead", ProcessIdentity::nobody());
        begin("alive", ProcessIdentity::current().unwrap());
        probe_runtime(home.store(), &fake).await.unwrap();
        assert!(fake.inspect_image(&dead).await.unwrap().is_none());
        assert!(fake.inspect_image(&alive).await.unwrap().is_some());
        let begun = home.store().begun_probes(fake.name()).unwrap();
        assert_eq!(begun.len(), 1);
    }
}
