//! Libraries whose functions were found in code that no symbol names: what their first calls have
//! shown, for the watcher and for `weft why`.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use weft_flow::Shown;

use super::files::Identity;

/// So many sessions of a library that show nonsense, and none that shows plaintext, disprove it.
const MAX_NONSENSE: u32 = 3;
/// More libraries are not remembered: those on trial are few.
const MAX_TRIALS: usize = 4096;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Trial {
    #[default]
    Open,
    Held,
    /// Its probes were taken away.
    Failed,
}

/// A library of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Tried {
    pub(crate) file: Identity,
    /// As sites name it.
    pub(crate) library: u8,
}

/// All of them; the watcher writes, `weft why` reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trials(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    courses: HashMap<Tried, Course>,
    /// Other names of the files, each with the name that the courses have.
    aliases: HashMap<Identity, Identity>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Course {
    trial: Trial,
    nonsense: u32,
}

// === impl Trials ===

impl Trials {
    /// What a session's first calls have shown. Gives the trial's end, once.
    pub(super) fn shown(&self, tried: Tried, shown: Shown) -> Option<Trial> {
        let courses = &mut self.lock().courses;
        if courses.len() == MAX_TRIALS && !courses.contains_key(&tried) {
            return None;
        }
        let course = courses.entry(tried).or_default();
        if course.trial != Trial::Open {
            return None;
        }
        match shown {
            Shown::Plaintext => course.trial = Trial::Held,
            Shown::Nonsense => course.nonsense += 1,
        }
        if course.nonsense == MAX_NONSENSE {
            course.trial = Trial::Failed;
        }
        (course.trial != Trial::Open).then_some(course.trial)
    }

    /// The same file as another mount shows it.
    pub(super) fn also(&self, alias: Identity, file: Identity) {
        self.lock().aliases.insert(alias, file);
    }

    /// How each stands of which a call was seen, under all names of its file.
    pub(crate) fn all(&self) -> Vec<(Tried, Trial)> {
        let all = self.lock();
        let mut rows = Vec::new();
        for (of, course) in &all.courses {
            let aliases = all.aliases.iter().filter(|(_, file)| **file == of.file);
            let names = aliases.map(|(alias, _)| *alias).chain([of.file]);
            rows.extend(names.map(|file| (Tried { file, ..*of }, course.trial)));
        }
        rows
    }

    /// The file is watched no more, or anew.
    pub(super) fn forget(&self, file: Identity) {
        let mut all = self.lock();
        all.courses.retain(|tried, _| tried.file != file);
        all.aliases.retain(|_, name| *name != file);
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "not verified yet on live calls",
            Self::Held => "verified on live calls",
            Self::Failed => {
                "no verified site: live calls showed no plaintext, its probes were taken away"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_file() -> Identity {
        Identity::of(&std::fs::metadata("/proc/self/exe").unwrap())
    }

    #[test]
    fn another_mount_shows_the_same_trial() {
        let trials = Trials::default();
        let file = own_file();
        let alias = Identity::of(&std::fs::metadata("/").unwrap());
        trials.also(alias, file);
        let tried = Tried { file, library: 1 };
        trials.shown(tried, Shown::Plaintext);
        let names: Vec<_> = trials.all().iter().map(|(of, _)| of.file).collect();
        assert_eq!(names, [alias, file]);
        trials.forget(file);
        assert!(trials.all().is_empty());
    }

    #[test]
    fn ends() {
        use Shown::{Nonsense, Plaintext};

        let check = |shown: &[Shown], expected: &[Option<Trial>]| {
            let trials = Trials::default();
            let tried = Tried {
                file: own_file(),
                library: 1,
            };
            let ends: Vec<_> = shown.iter().map(|it| trials.shown(tried, *it)).collect();
            assert_eq!(ends, expected, "{shown:?}");
        };
        check(&[Plaintext, Nonsense], &[Some(Trial::Held), None]);
        check(
            &[Nonsense, Nonsense, Nonsense, Plaintext],
            &[None, None, Some(Trial::Failed), None],
        );
        check(
            &[Nonsense, Plaintext, Nonsense, Nonsense],
            &[None, Some(Trial::Held), None, None],
        );
    }
}
