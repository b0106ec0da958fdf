//! What a span says about the process that it belongs to.

use std::borrow::Cow;

/// OpenTelemetry resource of one program in one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) attributes: Vec<Attribute>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) key: Cow<'static, str>,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Int(i64),
    List(Vec<String>),
}

impl Resource {
    /// Sets `key`; the last value given wins.
    pub(crate) fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.attributes.iter_mut().find(|held| held.key == key) {
            Some(held) => held.value = value,
            None => self.attributes.push(Attribute { key, value }),
        }
    }

    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        let held = self.attributes.iter().find(|held| held.key == key)?;
        Some(&held.value)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            Value::Int(_) | Value::List(_) => None,
        }
    }

    pub(crate) fn service_name(&self) -> &str {
        self.text("service.name").unwrap_or("unknown_service")
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}
