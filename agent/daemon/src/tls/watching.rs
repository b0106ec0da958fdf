//! What is watched in a file.

use std::{fs, path::Path};

use weft_inspect::Inspection;

use super::{
    Figures,
    files::inspect,
    known::Watched,
    places::{loader, name, places, stack_name},
};
use crate::{
    bpf::{Place, UserProbes},
    runtimes,
};

/// Looks into a file, and watches what it has of TLS and of a runtime; gives what is known of the runtime,
/// too.
pub(super) fn watch(
    probes: &mut UserProbes,
    path: &Path,
    file: &fs::File,
    figures: &Figures,
) -> (Vec<Watched>, Option<runtimes::Runtime>) {
    let path = path.display();
    figures.inspected.add(1);
    let inspection = match inspect(file) {
        Ok(inspection) => inspection,
        Err(error) => {
            log::debug!("{path}: {error}");
            return (Vec::new(), None);
        }
    };
    let runtime = runtimes::Runtime::of(&inspection);
    let Inspection {
        libraries, mapped, ..
    } = inspection;
    let library_problems = libraries.iter().flat_map(|library| &library.problems);
    let runtime_problems = runtime.iter().flat_map(runtimes::Runtime::problems);
    for problem in library_problems.chain(runtime_problems) {
        log::info!("{path}: {}", problem.0);
    }
    let mut all: Vec<_> = libraries
        .iter()
        .map(|library| {
            let places: Vec<_> = places(library).collect();
            (Some(name(library)), stack_name(library), places)
        })
        .collect();
    all.extend(mapped.map(|offset| (None, "the dynamic loader".to_owned(), vec![loader(offset)])));
    all.retain(|(_, _, places)| !places.is_empty());
    let mut watched = Vec::new();
    let mut watch = |library, name: &str, places: &[Place]| match probes.attach(file, places) {
        Ok(probes) => {
            log::info!("{path}: {name} is watched, {} probes", places.len());
            watched.push(Watched { library, probes });
            true
        }
        Err(error) => {
            figures.failed.add(1);
            log::warn!("{path}: {name} cannot be watched: {error}");
            false
        }
    };
    for (library, name, places) in all {
        watch(library, &name, &places);
    }
    let runtime = runtime.and_then(|runtime| {
        let places = runtime.places();
        // Without the probes, tasks would seem to work for whoever has made them.
        if places.is_empty() || watch(None, &runtime.to_string(), &places) {
            return Some(runtime);
        }
        runtime.unwatched()
    });
    (watched, runtime)
}
