//! The project's own rules, which no other tool knows.

mod arrows;
mod lengths;
mod licences;
mod names;
mod source;
mod urls;

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::cargo;
use crate::lint::Check;

pub(crate) fn checks() -> [Check; 5] {
    [
        Check {
            name: "arrows between crates",
            run: || judge(arrows::check),
        },
        Check {
            name: "names that belong to one place",
            run: || judge(names::check),
        },
        Check {
            name: "lengths of files",
            run: || judge(lengths::check),
        },
        Check {
            name: "addresses in the tree",
            run: || judge(urls::check),
        },
        Check {
            name: "licences of dependencies",
            run: licences::check,
        },
    ]
}

/// A text file of the project.
struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

// === impl File ===

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_in(&self, directories: &[&str]) -> bool {
        directories
            .iter()
            .any(|directory| self.path.starts_with(directory))
    }
}

/// Runs a rule over the tree; each line it gives is a fault.
fn judge(rule: fn(&[File]) -> Vec<String>) -> Result<()> {
    let faults = rule(&tree()?);
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}

fn tree() -> Result<Vec<File>> {
    let read = |path: PathBuf| {
        // What is not UTF-8 is not text.
        let text = fs::read_to_string(cargo::root().join(&path)).ok()?;
        let path = path.to_string_lossy().into_owned();
        Some(File { path, text })
    };
    Ok(cargo::files()?.into_iter().filter_map(read).collect())
}
