//! The public stories of field blocks (`hpack-test-case`), 440 of 14 encoders, as the package
//! `httlib-hpack` carries them.

use std::path::{Path, PathBuf};
use std::{env, fs};

use bytes::Bytes;
use serde_json::Value;

use super::blocks::Blocks;
use super::*;

/// A block as it is sent, and its fields.
type Case = (Vec<u8>, Vec<(String, Bytes)>);

#[test]
fn stories() {
    let mut stories = 0;
    for encoder in directories(&fixtures()) {
        for story in directories(&encoder) {
            check_story(&story);
            stories += 1;
        }
    }
    assert!(stories >= 440, "{stories} stories");
}

/// One connection's blocks, and what each says.
fn check_story(path: &Path) {
    let text = fs::read_to_string(path).expect("a readable story");
    let story: Value = serde_json::from_str(&text).expect("a story");
    let cases: Vec<_> = story["cases"]
        .as_array()
        .expect("cases")
        .iter()
        .map(case)
        .collect();
    let mut names: Vec<String> = cases
        .iter()
        .flat_map(|(_, fields)| fields.iter().map(|(name, _)| name.clone()))
        .collect();
    names.sort();
    names.dedup();
    let mut whole = Blocks::new(&names);
    for (wire, fields) in &cases {
        let block = whole
            .decode(wire)
            .unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        assert_eq!(told(&block.chosen, &names), *fields, "{}", path.display());
        assert_eq!((block.unknown, block.partial), (0, false));
    }
    check_joined(&cases[cases.len() / 2..], &names, path);
}

/// What is told without knowing what came before is right, and what is not is counted.
fn check_joined(cases: &[Case], names: &[String], path: &Path) {
    let mut blocks = Blocks::new(names);
    blocks.decoder.forget();
    for (wire, fields) in cases {
        let block = blocks.decode(wire).expect("a block");
        let told = told(&block.chosen, names);
        let mut rest = fields.iter();
        for field in &told {
            assert!(
                rest.any(|sent| sent == field),
                "{field:?} in {}",
                path.display()
            );
        }
        assert_eq!(told.len() + block.unknown as usize, fields.len());
    }
}

fn told(chosen: &[(u16, Bytes)], names: &[String]) -> Vec<(String, Bytes)> {
    chosen
        .iter()
        .map(|(index, value)| (names[usize::from(*index)].clone(), value.clone()))
        .collect()
}

fn case(case: &Value) -> Case {
    let fields = case["headers"].as_array().expect("fields").iter();
    let fields = fields.flat_map(|field| field.as_object().expect("a field"));
    let fields = fields.map(|(name, value)| {
        let value = value.as_str().expect("a value").to_owned();
        (name.clone(), Bytes::from(value))
    });
    (
        hex(case["wire"].as_str().expect("a block")),
        fields.collect(),
    )
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| {
            path.is_dir()
                || path
                    .extension()
                    .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    paths
}

/// Where cargo keeps the sources of `httlib-hpack`.
fn fixtures() -> PathBuf {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let sources = home.expect("a home").join("registry/src");
    let mut fixtures = directories(&sources)
        .into_iter()
        .flat_map(|registry| directories(&registry))
        .filter(|package| {
            let name = package.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("httlib-hpack-")
        })
        .map(|package| package.join("fixtures"));
    fixtures.next().expect("cargo has unpacked httlib-hpack")
}
