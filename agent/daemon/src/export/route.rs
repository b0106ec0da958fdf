//! `http.route` of requests whose router cannot be asked: the path with its variable parts named.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A path with `{name}` for one segment and a closing `*` for any rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    One,
    Rest,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RouteMode {
    /// Patterns first, then segments that look like identifiers are replaced.
    #[default]
    Heuristic,
    /// Only configured patterns give a route.
    Patterns,
    /// No route.
    Off,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    pub(crate) mode: RouteMode,
    /// The first that matches wins.
    pub(crate) patterns: Vec<Pattern>,
}

/// Segments of a heuristic route; the rest becomes `*`.
const DEPTH: usize = 8;
/// Longest segment that is taken for a word of the program's.
const WORD_BYTES: usize = 32;

impl Routes {
    /// Writes the route of `path` to `route`; false when it has none.
    pub(crate) fn find(&self, path: &str, route: &mut String) -> bool {
        route.clear();
        if self.mode == RouteMode::Off || !path.starts_with('/') {
            return false;
        }
        if let Some(pattern) = self.patterns.iter().find(|pattern| pattern.matches(path)) {
            route.push_str(&pattern.text);
            return true;
        }
        if self.mode == RouteMode::Patterns {
            return false;
        }
        generalise(path, route);
        true
    }
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!("a route pattern begins with `/`: `{text}`"));
        };
        let segments: Vec<Segment> = path.split('/').map(Segment::parse).collect();
        let early = segments
            .iter()
            .rev()
            .skip(1)
            .any(|segment| *segment == Segment::Rest);
        if early {
            return Err(format!("`*` may only end a route pattern: `{text}`"));
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
        })
    }

    fn matches(&self, path: &str) -> bool {
        let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
        for segment in &self.segments {
            match (segment, parts.next()) {
                (Segment::Rest, _) => return true,
                (Segment::One, Some(part)) if !part.is_empty() => {}
                (Segment::Literal(word), Some(part)) if word == part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn parse(text: &str) -> Self {
        match text {
            "*" => Self::Rest,
            _ if text.starts_with('{') && text.ends_with('}') => Self::One,
            _ => Self::Literal(text.to_owned()),
        }
    }
}

fn generalise(path: &str, route: &mut String) {
    for (index, segment) in path[1..].split('/').enumerate() {
        route.push('/');
        if index == DEPTH {
            route.push('*');
            return;
        }
        route.push_str(if is_identifier(segment) {
            "{id}"
        } else {
            segment
        });
    }
}

/// Numbers, UUIDs, hashes, encoded or long things; words, versions and file names are not.
fn is_identifier(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    if bytes.len() > WORD_BYTES || !segment.is_ascii() || bytes.contains(&b'%') {
        return true;
    }
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return false;
    }
    let letters = bytes
        .iter()
        .filter(|byte| byte.is_ascii_alphabetic())
        .count();
    let hex = bytes
        .iter()
        .all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    // `v1`, `http2`, `main.3f2a.js`: a word with a little number in it stays.
    letters == 0 || (hex && bytes.len() >= 8) || digits >= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mode: RouteMode, patterns: &[&str], path: &str, expected: Option<&str>) {
        let patterns = patterns
            .iter()
            .map(|text| Pattern::parse(text).unwrap())
            .collect();
        let mut route = String::new();
        let found = Routes { mode, patterns }.find(path, &mut route);
        assert_eq!(found.then_some(route.as_str()), expected, "{path}");
    }

    #[test]
    fn heuristic() {
        for (path, route) in [
            ("/", "/"),
            ("/cart/checkout", "/cart/checkout"),
            ("/users/42", "/users/{id}"),
            ("/api/v2/users/42/orders/", "/api/v2/users/{id}/orders/"),
            ("/o/7f3d0b1c-99aa-4b07-8c1d-0a9f2c44aa10", "/o/{id}"),
            ("/commit/3f2a9c01", "/commit/{id}"),
            ("/cafe", "/cafe"),
            ("/a%20b", "/{id}"),
            ("/static/app.js", "/static/app.js"),
            (
                "/1/2/3/4/5/6/7/8/9",
                "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/*",
            ),
        ] {
            check(RouteMode::Heuristic, &[], path, Some(route));
        }
    }

    #[test]
    fn patterns_come_first() {
        let patterns = ["/shop/{name}", "/files/*"];
        check(
            RouteMode::Heuristic,
            &patterns,
            "/shop/tea",
            Some("/shop/{name}"),
        );
        check(
            RouteMode::Patterns,
            &patterns,
            "/files/a/b",
            Some("/files/*"),
        );
        check(RouteMode::Patterns, &patterns, "/shop/tea/2", None);
        check(RouteMode::Patterns, &patterns, "/shop/", None);
        check(RouteMode::Off, &patterns, "/shop/tea", None);
        check(RouteMode::Heuristic, &[], "*", None);
    }

    #[test]
    fn a_rest_in_the_middle_is_refused() {
        assert!(Pattern::parse("/a/*/b").is_err());
        assert!(Pattern::parse("a").is_err());
    }
}
