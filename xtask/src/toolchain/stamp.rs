//! A file that says how the thing beside it was made.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Written last, so that an interrupted installation is made again.
pub(super) struct Stamp {
    path: PathBuf,
    recipe: String,
}

impl Stamp {
    /// `recipe` names all that the result depends on.
    pub(super) fn new(directory: &Path, name: &str, recipe: String) -> Self {
        Self {
            path: directory.join(format!("{name}.stamp")),
            recipe,
        }
    }

    pub(super) fn is_current(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|found| found == self.recipe)
    }

    pub(super) fn write(&self) -> Result<()> {
        Ok(fs::write(&self.path, &self.recipe)?)
    }
}
