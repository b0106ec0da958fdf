//! Files stay as long as a reader takes in at once.

use super::File;

const MEDIAN: usize = 150;
/// Above it a file is named, for a hard look.
const LOOK: usize = 400;
const MOST: usize = 600;

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut lengths: Vec<(usize, &str)> = files
        .iter()
        .filter(|file| file.is_rust())
        .map(|file| (file.text.lines().count(), file.path.as_str()))
        .collect();
    lengths.sort_unstable();
    let at = |share: usize| {
        let index = lengths.len().saturating_sub(1) * share / 100;
        lengths.get(index).map_or(0, |(length, _)| *length)
    };
    let median = at(50);
    println!(
        "    {} files, median {median} lines, nine of ten within {}, longest {}",
        lengths.len(),
        at(90),
        at(100)
    );

    let mut faults = Vec::new();
    if median > MEDIAN {
        faults.push(format!(
            "half of the files are longer than {median} lines; {MEDIAN} are aimed at"
        ));
    }
    for (length, path) in lengths.into_iter().rev() {
        if length > MOST {
            faults.push(format!("{path}: {length} lines, {MOST} are allowed"));
        } else if length > LOOK {
            println!("    {path}: {length} lines, have a hard look");
        }
    }
    faults
}
