//! Words that may be written in one place only: a crate that one module hides from the others, and
//! the ways out of a crate that must not look at the world.

use super::File;
use super::source::{code, without_tests};

struct Rule {
    /// Whole words of code, or paths of them.
    words: &'static [&'static str],
    /// Looked for under these.
    within: &'static [&'static str],
    /// But not under these.
    except: &'static [&'static str],
    /// Whether the unit tests of a file are held to it too.
    tests: Tests,
    reason: &'static str,
}

#[derive(PartialEq)]
enum Tests {
    Too,
    Free,
}

const RULES: &[Rule] = &[
    Rule {
        words: &["unsafe"],
        within: &[""],
        except: &["ebpf/", "agent/daemon/src/bpf/", "agent/daemon/src/bpf.rs"],
        tests: Tests::Too,
        reason: "unsafe code belongs to ebpf/ and agent/daemon/src/bpf",
    },
    Rule {
        words: &["aya", "aya_log", "aya_obj"],
        within: &["agent/", "tests/", "xtask/"],
        except: &[
            "agent/daemon/src/bpf/",
            "agent/daemon/src/bpf.rs",
            // Reads the kernel's statistics, and measures an empty program beside weft's.
            "tests/bench/src/watch/",
        ],
        tests: Tests::Too,
        reason: "only agent/daemon/src/bpf knows aya",
    },
    Rule {
        words: &["kube", "k8s_openapi"],
        within: &["agent/", "tests/"],
        except: &["agent/daemon/src/kubernetes/"],
        tests: Tests::Too,
        reason: "only agent/daemon/src/kubernetes knows the API server's crates",
    },
    Rule {
        words: &[
            "opentelemetry",
            "opentelemetry_otlp",
            "opentelemetry_proto",
            "opentelemetry_sdk",
            "tonic",
        ],
        within: &["agent/"],
        except: &[
            "agent/daemon/src/export",
            // Metrics.
            "agent/daemon/src/telemetry",
        ],
        tests: Tests::Too,
        reason: "only agent/daemon/src/export and telemetry know OpenTelemetry's crates",
    },
    Rule {
        words: &[
            "Instant::now",
            "SystemTime::now",
            "std::env",
            "std::fs",
            "std::process",
            "std::thread",
            "thread_local",
            "TcpListener",
            "TcpStream",
            "UdpSocket",
            "UnixListener",
            "UnixStream",
        ],
        within: &["agent/proto/src/", "agent/flow/src/"],
        except: &[],
        tests: Tests::Free,
        reason: "proto and flow read no clock, file, socket, environment or global",
    },
    Rule {
        words: &["allow"],
        within: &[""],
        // Each test program uses a part of it.
        except: &["agent/flow/tests/common/"],
        tests: Tests::Too,
        reason: "an exception to a lint is `#[expect(.., reason = \"..\")]`",
    },
];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let code = code(&file.text);
        let test_file = is_test(file, files);
        for rule in RULES {
            let free = test_file && rule.tests == Tests::Free;
            if free || !file.is_in(rule.within) || file.is_in(rule.except) {
                continue;
            }
            let code = if rule.tests == Tests::Free {
                without_tests(&code)
            } else {
                &code
            };
            for (number, line) in (1..).zip(code.lines()) {
                if let Some(word) = rule.words.iter().find(|word| names(line, word)) {
                    faults.push(format!("{}:{number}: `{word}`: {}", file.path, rule.reason));
                }
            }
        }
    }
    faults
}

/// Whether all of the file is a unit test: its parent says so.
fn is_test(file: &File, files: &[File]) -> bool {
    let module = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
    let mut parents = module.rsplit('/');
    let Some(name) = parents.next() else {
        return false;
    };
    let declared =
        ["mod", "pub(crate) mod"].map(|declaration| format!("#[cfg(test)]\n{declaration} {name};"));
    file.path.contains("/tests/")
        || files.iter().any(|parent| {
            parent.is_rust()
                && parent.path.rsplit_once('/').is_some_and(|(directory, _)| {
                    module.strip_prefix(directory) == Some(&format!("/{name}"))
                })
                && declared.iter().any(|line| parent.text.contains(line))
        })
}

/// Whether a line of code has the word, as a whole. A lint attribute is one only behind `#[`.
fn names(line: &str, word: &str) -> bool {
    if word == "allow" {
        return line.contains("[allow(");
    }
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        assert!(names("use aya::Ebpf;", "aya"));
        assert!(names("unsafe { f() }", "unsafe"));
        assert!(!names("#![forbid(unsafe_code)]", "unsafe"));
        assert!(!names("aya_log::init()", "aya"));
        assert!(names("#[allow(dead_code)]", "allow"));
        assert!(!names("config.allow(x)", "allow"));
    }
}
