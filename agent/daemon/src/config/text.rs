//! Values that people write as text: durations, sizes, globs, addresses.

use std::{fmt, time::Duration};

use globset::{Glob, GlobMatcher};
use http::Uri;
use log::LevelFilter;
use serde::{
    Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

use crate::export::Pattern;

/// Read from text and written back as it is read.
pub(crate) trait Text: Sized {
    /// The error says what is accepted.
    fn read(text: &str) -> Result<Self, String>;
    fn write(&self) -> String;
}

/// Bytes; written with a binary unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) usize);

const SIZES: [(&str, usize); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
/// With the nanoseconds of each.
const DURATIONS: [(&str, u64); 5] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];

impl Text for Duration {
    fn read(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is no duration: write `500ms`, `10s`, `5m` or `1h`");
        let (unit, ns) = DURATIONS
            .iter()
            .find(|(unit, _)| text.ends_with(unit))
            .ok_or_else(fault)?;
        let number: f64 = text
            .trim_end_matches(unit)
            .trim()
            .parse()
            .map_err(|_| fault())?;
        Self::try_from_secs_f64(number * *ns as f64 / 1e9).map_err(|_| fault())
    }

    fn write(&self) -> String {
        let ns = self.as_nanos();
        let whole = |unit: u64| ns.is_multiple_of(u128::from(unit)) && ns >= u128::from(unit);
        let by_size = ["h", "m", "s", "ms"];
        let unit = by_size.iter().find_map(|name| {
            let (_, unit) = DURATIONS
                .iter()
                .find(|(known, unit)| known == name && whole(*unit))?;
            Some((name, unit))
        });
        match unit {
            Some((name, unit)) => format!("{}{name}", ns / u128::from(*unit)),
            None if ns == 0 => "0s".to_owned(),
            None => format!("{}us", ns / 1_000),
        }
    }
}

impl Text for ByteSize {
    fn read(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is no size: write `65536`, `512KiB` or `16MiB`");
        let (number, unit) = SIZES
            .iter()
            .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)))
            .unwrap_or((text, 1));
        let number: usize = number.trim().parse().map_err(|_| fault())?;
        number.checked_mul(unit).map(Self).ok_or_else(fault)
    }

    fn write(&self) -> String {
        let whole = SIZES
            .iter()
            .find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        match whole {
            Some((unit, bytes)) if *bytes > 1 => format!("{}{unit}", self.0 / bytes),
            _ => self.0.to_string(),
        }
    }
}

impl Text for GlobMatcher {
    fn read(text: &str) -> Result<Self, String> {
        let glob =
            Glob::new(text).map_err(|error| format!("`{text}` is no glob: {}", error.kind()))?;
        Ok(glob.compile_matcher())
    }

    fn write(&self) -> String {
        self.glob().glob().to_owned()
    }
}

impl Text for Uri {
    fn read(text: &str) -> Result<Self, String> {
        let fault =
            || format!("`{text}` is no endpoint: write `http://host:port` or `https://host:port`");
        let uri: Self = text.parse().map_err(|_| fault())?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
            _ => Err(fault()),
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Text for LevelFilter {
    fn read(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is no level: off, error, warn, info, debug or trace");
        text.parse().map_err(|_| fault())
    }

    fn write(&self) -> String {
        self.as_str().to_ascii_lowercase()
    }
}

impl Text for Pattern {
    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

/// `#[serde(with = ...)]`: one value.
pub(super) mod one {
    use super::*;

    pub(in super::super) fn serialize<T: Text, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.write())
    }

    pub(in super::super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        deserializer.deserialize_str(Reader(std::marker::PhantomData))
    }
}

/// A value that may be absent (`null`).
pub(super) mod optional {
    use serde::Deserialize;

    use super::*;

    pub(in super::super) fn serialize<T: Text, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(Text::write).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        Ok(Option::<Readable<T>>::deserialize(deserializer)?.map(|Readable(value)| value))
    }
}

pub(super) mod many {
    use serde::Deserialize;

    use super::*;

    pub(in super::super) fn serialize<T: Text, S: Serializer>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(Text::write))
    }

    pub(in super::super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        let values = Vec::<Readable<T>>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|Readable(value)| value).collect())
    }
}

/// Pairs that stand as a mapping in the file.
pub(super) mod map {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        pairs: &[(String, String)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, String)>, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}

/// Request headers: their values are never shown.
pub(super) mod headers {
    use std::collections::BTreeMap;

    use http::{HeaderName, HeaderValue};
    use serde::Deserialize;

    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        pairs: &[(HeaderName, HeaderValue)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.iter().map(|(name, _)| (name.as_str(), "***")))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, D::Error> {
        let pairs = BTreeMap::<String, String>::deserialize(deserializer)?;
        pairs
            .into_iter()
            .map(|(name, value)| header(&name, &value).map_err(de::Error::custom))
            .collect()
    }
}

pub(super) fn header(
    name: &str,
    value: &str,
) -> Result<(http::HeaderName, http::HeaderValue), String> {
    let name =
        http::HeaderName::try_from(name).map_err(|_| format!("`{name}` is no header name"))?;
    let mut value = http::HeaderValue::try_from(value)
        .map_err(|_| format!("the value of header `{name}` has bytes that no header has"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

struct Readable<T>(T);

impl<'de, T: Text> de::Deserialize<'de> for Readable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one::deserialize(deserializer).map(Self)
    }
}

struct Reader<T>(std::marker::PhantomData<T>);

impl<T: Text> Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: Text + fmt::Debug>(text: &str, expected: Option<&str>) {
        let read = T::read(text);
        assert_eq!(
            read.as_ref().ok().map(Text::write).as_deref(),
            expected,
            "{text}: {read:?}"
        );
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("500ms", Some("500ms")),
            ("1.5s", Some("1500ms")),
            ("120s", Some("2m")),
            ("90 m", Some("90m")),
            ("0s", Some("0s")),
            ("5us", Some("5us")),
            ("10", None),
            ("-1s", None),
            ("ms", None),
            ("1e300h", None),
        ] {
            check::<Duration>(text, expected);
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("16MiB", Some("16MiB")),
            ("4096", Some("4KiB")),
            ("100 B", Some("100")),
            ("16MB", None),
            ("99999999999GiB", None),
        ] {
            check::<ByteSize>(text, expected);
        }
    }

    #[test]
    fn endpoints() {
        check::<Uri>("http://[::1]:4317", Some("http://[::1]:4317/"));
        check::<Uri>("https://otel.test/base", Some("https://otel.test/base"));
        check::<Uri>("localhost:4317", None);
        check::<Uri>("ftp://a", None);
        check::<GlobMatcher>("python3*", Some("python3*"));
        check::<GlobMatcher>("a[", None);
    }
}
