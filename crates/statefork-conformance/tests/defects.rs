//! Whether the suite would notice: every defect must be caught by a case, and every case that
//! runs on the fake must catch a defect. Prints the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use statefork_conformance::{Case, Defect, DefectiveRuntime, Suite, TestImage, cases};
use statefork_runtime::{ObjectId, Runtime};

/// The names of the cases that find something wrong.
fn caught_by(defect: Defect) -> Vec<String> {
    // The clock does not wait: what hangs is over at once.
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("an async runtime");
    tokio.block_on(async {
        let mut caught = Vec::new();
        for case in runnable() {
            // A fake of its own, since a defect may leave anything behind.
            let runtime = Arc::new(DefectiveRuntime::new(defect));
            let probed = runtime.probe(&ObjectId::new("probe")).await;
            let capabilities = probed.expect("a runtime that can be probed");
            let suite = Suite::open(runtime, capabilities, TestImage::Vocabulary, None)
                .await
                .expect("a runtime that takes the image");
            // What only the clean-up notices is no merit of the case.
            match suite.check(case).await {
                Err(text) if !text.starts_with("clean-up") => caught.push(name(case)),
                _ => {}
            }
        }
        caught
    })
}

/// The same for all defects, on all processors.
fn all_caught() -> Vec<(Defect, Vec<String>)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = Defect::ALL.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let shares: Vec<_> = Defect::ALL
            .chunks(share)
            .map(|defects| {
                scope.spawn(|| {
                    let caught = defects.iter().map(|&defect| (defect, caught_by(defect)));
                    caught.collect::<Vec<_>>()
                })
            })
            .collect();
        let joined = shares.into_iter().map(|share| share.join());
        joined.flat_map(|share| share.expect("a share")).collect()
    })
}

fn name(case: &Case) -> String {
    format!("{}::{}", case.group, case.name)
}

/// The cases that the fake's capabilities allow. The others are for what only real programs show,
/// and a defect of that kind cannot be made in memory.
fn runnable() -> impl Iterator<Item = &'static Case> {
    use statefork_conformance::Need;
    let is_there = |need: &Need| matches!(need, Need::Pause | Need::Publish);
    cases().filter(move |case| case.needs.iter().all(is_there))
}

#[test]
fn every_defect_is_caught_and_every_case_catches_one() {
    let mut catches: BTreeMap<String, u32> = runnable().map(|case| (name(case), 0)).collect();
    let mut escaped = Vec::new();
    println!("{:<30} {:>6}  first of the cases", "defect", "caught");
    for (defect, caught) in all_caught() {
        let shown = format!("{defect:?}");
        let first = caught.first().map_or("NOTHING", String::as_str);
        println!("{shown:<30} {:>6}  {first}", caught.len());
        if caught.is_empty() {
            escaped.push(shown);
        }
        for case in caught {
            *catches.entry(case).or_default() += 1;
        }
    }
    let idle: Vec<&String> = catches
        .iter()
        .filter(|(_, defects)| **defects == 0)
        .map(|(case, _)| case)
        .collect();
    println!("\n{:<70} {:>7}", "case", "defects");
    for (case, defects) in &catches {
        println!("{case:<70} {defects:>7}");
    }
    assert!(escaped.is_empty(), "no case catches {escaped:?}");
    assert!(idle.is_empty(), "these cases catch nothing: {idle:?}");
}
