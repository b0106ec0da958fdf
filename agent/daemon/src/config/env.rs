//! The standard `OTEL_*` variables (OpenTelemetry specification, "Environment Variable
//! Specification" and "OpenTelemetry Protocol Exporter").

use std::{collections::HashMap, time::Duration};

use http::Uri;
use serde::Deserialize;
use serde::de::value::{Error as ValueError, StrDeserializer};

use super::{Config, Error, Sampling, Text, text::header};
use crate::discover::resource_attributes;

/// Variables by name: the process's own, or a test's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(HashMap<String, String>);

impl Environment {
    pub(crate) fn of_this_process() -> Self {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(utf8).collect())
    }

    /// Of two variables the one for traces alone wins. An empty one counts as unset.
    fn value(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        names.iter().find_map(|name| {
            let value = self.0.get(*name)?.trim();
            (!value.is_empty()).then_some((*name, value))
        })
    }

    pub(super) fn read<T>(
        &self,
        names: &[&'static str],
        read: impl Fn(&str) -> Result<T, String>,
        change: impl FnOnce(T),
    ) -> Result<(), Error> {
        if let Some((name, value)) = self.value(names) {
            change(read(value).map_err(|reason| Error::Variable { name, reason })?);
        }
        Ok(())
    }
}

impl Config {
    pub(crate) fn apply(&mut self, env: &Environment) -> Result<(), Error> {
        let Self {
            otlp,
            batch,
            resource,
            sampler,
            propagation,
            kubernetes,
            ..
        } = self;
        env.read(&["OTEL_EXPORTER_OTLP_ENDPOINT"], Uri::read, |uri| {
            otlp.endpoint = Some(uri);
        })?;
        env.read(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"], Uri::read, |uri| {
            otlp.traces_endpoint = Some(uri);
        })?;
        env.read(&["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"], Uri::read, |uri| {
            otlp.metrics_endpoint = Some(uri);
        })?;
        env.read(
            &[
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                "OTEL_EXPORTER_OTLP_PROTOCOL",
            ],
            |text| choice(text, "grpc or http/protobuf"),
            |protocol| otlp.protocol = protocol,
        )?;
        env.read(
            &[
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                "OTEL_EXPORTER_OTLP_HEADERS",
            ],
            headers,
            |headers| otlp.headers = headers,
        )?;
        let path = |text: &str| Ok(Some(text.into()));
        env.read(
            &[
                "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
            ],
            path,
            |path| otlp.certificate = path,
        )?;
        env.read(
            &[
                "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            ],
            path,
            |path| otlp.client_certificate = path,
        )?;
        env.read(
            &[
                "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
                "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            ],
            path,
            |path| otlp.client_key = path,
        )?;
        env.read(
            &[
                "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
                "OTEL_EXPORTER_OTLP_TIMEOUT",
            ],
            milliseconds,
            |timeout| otlp.timeout = timeout,
        )?;
        env.read(
            &[
                "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
                "OTEL_EXPORTER_OTLP_COMPRESSION",
            ],
            |text| choice(text, "none or gzip"),
            |compression| otlp.compression = compression,
        )?;
        env.read(&["OTEL_BSP_SCHEDULE_DELAY"], milliseconds, |delay| {
            batch.delay = delay;
        })?;
        env.read(&["OTEL_BSP_EXPORT_TIMEOUT"], milliseconds, |time| {
            otlp.retry.give_up = time;
        })?;
        env.read(&["OTEL_BSP_MAX_QUEUE_SIZE"], count, |spans| {
            batch.queue_spans = spans;
        })?;
        env.read(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], count, |spans| {
            batch.spans = spans;
        })?;
        env.read(
            &["OTEL_SERVICE_NAME"],
            |text| Ok(text.to_owned()),
            |name| {
                resource.service_name = Some(name);
            },
        )?;
        env.read(
            &["OTEL_RESOURCE_ATTRIBUTES"],
            |text| Ok(resource_attributes(text)),
            |pairs| {
                for (key, value) in pairs {
                    if key == "service.name" {
                        resource.service_name.get_or_insert(value);
                    } else {
                        resource.attributes.retain(|(held, _)| *held != key);
                        resource.attributes.push((key, value));
                    }
                }
            },
        )?;
        propagation.apply(env)?;
        kubernetes.apply(env)?;
        sampling(env, sampler)
    }
}

fn sampling(env: &Environment, sampler: &mut Sampling) -> Result<(), Error> {
    let names = "always_on, always_off, traceidratio, parentbased_always_on, \
                 parentbased_always_off or parentbased_traceidratio";
    env.read(
        &["OTEL_TRACES_SAMPLER"],
        |text| choice(text, names),
        |name| sampler.name = name,
    )?;
    let ratio = |text: &str| match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(format!("`{text}` is no share between 0 and 1")),
    };
    env.read(&["OTEL_TRACES_SAMPLER_ARG"], ratio, |ratio| {
        sampler.ratio = ratio;
    })
}

/// A value that the file accepts, too.
fn choice<T: for<'de> Deserialize<'de>>(text: &str, accepted: &str) -> Result<T, String> {
    T::deserialize(StrDeserializer::<ValueError>::new(text))
        .map_err(|_| format!("`{text}` is not known: {accepted}"))
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let number = text
        .parse()
        .map_err(|_| format!("`{text}` is no number of milliseconds"))?;
    Ok(Duration::from_millis(number))
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("`{text}` is no number above 0")),
        Ok(number) => Ok(number),
    }
}

/// `key=value` pairs between commas, percent-encoded.
fn headers(text: &str) -> Result<Vec<(http::HeaderName, http::HeaderValue)>, String> {
    let pairs = resource_attributes(text);
    if pairs.len()
        != text
            .split(',')
            .filter(|pair| !pair.trim().is_empty())
            .count()
    {
        return Err("headers are written `name=value,name=value`".to_owned());
    }
    pairs
        .iter()
        .map(|(name, value)| header(name, value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Compression, Output, Protocol, SamplerName};

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Environment(pairs.iter().map(owned).collect())
    }

    fn applied(pairs: &[(&str, &str)]) -> Result<Config, Error> {
        let mut config = Config::default();
        config.apply(&environment(pairs))?;
        config.resolve()
    }

    #[test]
    fn standard_variables() {
        let config = applied(&[
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "https://otel.test:4318/base/",
            ),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Bearer%20x, a=b",
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64"),
            ("OTEL_SERVICE_NAME", ""),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=all,deployment.environment.name=test",
            ),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ])
        .unwrap();
        assert_eq!(config.outputs, [Output::Otlp]);
        assert_eq!(config.otlp.protocol, Protocol::HttpProtobuf);
        assert_eq!(
            config.otlp.traces(),
            "https://otel.test:4318/base/v1/traces"
        );
        assert_eq!(
            config.otlp.metrics(),
            "https://otel.test:4318/base/v1/metrics"
        );
        assert_eq!(config.otlp.headers[0].1, "Bearer x");
        assert_eq!(config.otlp.timeout, Duration::from_millis(2500));
        assert_eq!(config.otlp.compression, Compression::Gzip);
        assert_eq!(config.otlp.certificate.as_deref(), Some("/ca.pem".as_ref()));
        assert_eq!(
            (config.batch.delay, config.batch.spans),
            (Duration::from_millis(100), 64)
        );
        assert_eq!(config.resource.service_name.as_deref(), Some("all"));
        assert_eq!(config.resource.attributes.len(), 1);
        assert_eq!(config.sampler.name, SamplerName::ParentBasedTraceIdRatio);
        assert_eq!(
            (config.sampler.parent_based(), config.sampler.share()),
            (true, 0.25)
        );
    }

    #[test]
    fn variables_win_over_the_file_and_signals_over_all() {
        let mut config = Config::default();
        config.otlp.endpoint = Some(Uri::from_static("http://file:4317"));
        config.apply(&environment(&[])).unwrap();
        assert_eq!(config.otlp.traces(), "http://file:4317");
        let both = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:1/x"),
        ];
        config.apply(&environment(&both)).unwrap();
        assert_eq!(config.otlp.traces(), "http://traces:1/x");
        assert_eq!(config.otlp.metrics(), "http://all:4317");
    }

    #[test]
    fn faults_name_the_variable_and_what_is_accepted() {
        for (name, value, word) in [
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "localhost:4317",
                "http://host:port",
            ),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "novalue", "name=value"),
            ("OTEL_TRACES_SAMPLER", "sometimes", "always_on"),
            ("OTEL_TRACES_SAMPLER_ARG", "7", "between 0 and 1"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "above 0"),
        ] {
            let message = applied(&[(name, value)]).unwrap_err().to_string();
            assert!(
                message.starts_with(name) && message.contains(word),
                "{message}"
            );
        }
    }
}
