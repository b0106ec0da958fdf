//! Reads the YAML file.

use std::{fs, path::Path};

use serde_saphyr::Error as Yaml;

use super::{Config, Error};

impl Config {
    /// The defaults, changed by what the file says.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Error> {
        let unreadable = |reason: String| Error::Unreadable {
            path: path.to_owned(),
            reason,
        };
        let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::from_yaml(path, &text)
    }

    fn from_yaml(path: &Path, text: &str) -> Result<Self, Error> {
        let meaningful = text
            .lines()
            .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
        if !meaningful {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| fault(path, text, &error))
    }
}

fn fault(path: &Path, text: &str, error: &Yaml) -> Error {
    let error = error.without_snippet();
    let line = error.location().map_or(1, |location| location.line());
    let index = usize::try_from(line).unwrap_or(1).saturating_sub(1);
    let source = text.lines().nth(index).unwrap_or_default().trim();
    let reason = match error {
        Yaml::SerdeUnknownField {
            field, expected, ..
        } => {
            format!("unknown key `{field}`: {}", accepted(field, expected))
        }
        Yaml::SerdeUnknownVariant {
            variant, expected, ..
        } => {
            format!("`{source}`: `{variant}` is not one of {}", list(expected))
        }
        other => format!("`{source}`: {}", first_line(&other.to_string())),
    };
    Error::File {
        path: path.to_owned(),
        line,
        reason,
    }
}

fn accepted(field: &str, expected: &[&str]) -> String {
    match nearest(field, expected) {
        Some(name) => format!("did you mean `{name}`? (here: {})", list(expected)),
        None => format!("here are {}", list(expected)),
    }
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The name that a slip of the keyboard may have meant.
pub(super) fn nearest<'a>(field: &str, names: &[&'a str]) -> Option<&'a str> {
    let close = field.len().max(3) / 2;
    let (distance, name) = names
        .iter()
        .map(|name| (edits(field, name), *name))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= close).then_some(name)
}

/// Levenshtein distance; names are short.
fn edits(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, left) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, right) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

fn first_line(text: &str) -> &str {
    text.lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, line: u64, words: &[&str]) {
        let error = Config::from_yaml(Path::new("weft.yaml"), text).unwrap_err();
        let Error::File { line: found, .. } = &error else {
            panic!("{error}")
        };
        let message = error.to_string();
        assert_eq!(*found, line, "{message}");
        for word in words {
            assert!(message.contains(word), "{message} lacks {word}");
        }
    }

    #[test]
    fn faults_name_key_line_and_what_is_accepted() {
        check(
            "batch:\n  dellay: 1s\n",
            2,
            &[
                "weft.yaml:2",
                "`dellay`",
                "did you mean `delay`",
                "`queue_bytes`",
            ],
        );
        check(
            "sampling: 1\n",
            1,
            &["`sampling`", "did you mean `sampler`"],
        );
        check("zzzzzz: 1\n", 1, &["`zzzzzz`", "here are `outputs`"]);
        check(
            "\nbatch:\n  delay: 5 parsecs\n",
            3,
            &["delay: 5 parsecs", "500ms"],
        );
        check(
            "outputs: [otlp, kafka]\n",
            1,
            &["kafka", "`otlp`, `console`, `json`"],
        );
        check(
            "otlp:\n  protocol: http/json\n",
            2,
            &["http/json", "`grpc`, `http/protobuf`"],
        );
        check(
            "otlp:\n  endpoint: localhost:4317\n",
            2,
            &["localhost:4317", "http://host:port"],
        );
        check("selection:\n  exes: ['a[']\n", 2, &["a[", "no glob"]);
        check("selection: [\n", 1, &["selection: ["]);
        check("batch:\n  spans: many\n", 2, &["spans: many"]);
        check("batch:\n  delay: 1s\n  delay: 2s\n", 3, &["delay"]);
    }

    #[test]
    fn the_sample_is_the_defaults() {
        let text = include_str!("../../../../deploy/weft.yaml");
        let sample = Config::from_yaml(Path::new("deploy/weft.yaml"), text).unwrap();
        assert_eq!(sample.show(), Config::default().show());
        let defaults: serde_json::Value = serde_json::to_value(Config::default()).unwrap();
        let written: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        assert_eq!(
            keys(&written),
            keys(&defaults),
            "every key stands in the sample"
        );
    }

    fn keys(value: &serde_json::Value) -> Vec<String> {
        let Some(object) = value.as_object() else {
            return Vec::new();
        };
        let below = |(key, value): (&String, &serde_json::Value)| {
            let mut paths: Vec<String> = keys(value)
                .iter()
                .map(|path| format!("{key}.{path}"))
                .collect();
            paths.push(key.clone());
            paths
        };
        let mut paths: Vec<String> = object.iter().flat_map(below).collect();
        paths.sort();
        paths
    }

    #[test]
    fn what_is_shown_reads_the_same() {
        let text = "otlp:\n  endpoint: http://a:4317\n  headers: {authorization: Bearer x}\n\
                    selection:\n  exes: ['/usr/*', node]\n  pids: [4]\nmetrics:\n  listen: 127.0.0.1:9464\n";
        let config = Config::from_yaml(Path::new("x"), text).unwrap();
        let shown = config.show();
        assert!(!shown.contains("Bearer"), "{shown}");
        assert_eq!(
            Config::from_yaml(Path::new("x"), &shown).unwrap().show(),
            shown
        );
        assert_eq!(
            Config::from_yaml(Path::new("x"), "# nothing\n")
                .unwrap()
                .show(),
            Config::default().show()
        );
    }
}
