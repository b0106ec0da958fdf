//! Libraries whose functions were found in code that no symbol names: what their first calls have
//! shown, for the watcher and for `weft why`.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
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
pub(crate) struct Trials(Arc<Mutex<HashMap<Tried, Course>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Course {
    trial: Trial,
    nonsense: u32,
}

// === impl Trials ===

impl Trials {
    /// What a session's first calls have shown. Gives the trial's end, once.
    pub(super) fn shown(&self, tried: Tried, shown: Shown) -> Option<Trial> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == MAX_TRIALS && !all.contains_key(&tried) {
            return None;
        }
        let course = all.entry(tried).or_default();
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

    /// How each stands of which a call was seen.
    pub(crate) fn all(&self) -> Vec<(Tried, Trial)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(of, course)| (*of, course.trial)).collect()
    }

    /// The file is watched no more, or anew.
    pub(super) fn forget(&self, file: Identity) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|tried, _| tried.file != file);
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

    #[test]
    fn ends() {
        use Shown::{Nonsense, Plaintext};

        let check = |shown: &[Shown], expected: &[Option<Trial>]| {
            let trials = Trials::default();
            let tried = Tried {
                file: Identity::of((8, 1), 2),
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
