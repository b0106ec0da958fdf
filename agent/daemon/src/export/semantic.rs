//! A span in the terms of OpenTelemetry's semantic conventions (HTTP, stable since 1.23): names,
//! status rules and attributes, once for all exporters.

use std::{
    borrow::Cow,
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use weft_flow::span::{Endpoint, Http, Kind, Outcome, Span, Version};
use weft_proto::grpc;

use super::{route::Routes, rpc};

/// What the user chose.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conventions {
    pub(crate) routes: Routes,
    /// Attribute keys of the kept request headers, in the order of the configuration.
    pub(crate) header_keys: Vec<String>,
    /// The same for gRPC calls.
    pub(crate) metadata_keys: Vec<String>,
}

/// Receives a span's attributes in a fixed order.
pub(crate) trait Attributes {
    fn text(&mut self, key: &str, value: &str);
    fn int(&mut self, key: &str, value: i64);
    fn list(&mut self, key: &str, values: &[&str]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Unset,
    Error,
}

/// Puts spans into words; keeps its buffers from one span to the next.
#[derive(Debug, Default)]
pub(crate) struct Describer {
    conventions: Conventions,
    route: String,
    scratch: String,
    /// Addresses in words, of those that came last; the next one goes to `next_address`.
    addresses: Vec<(IpAddr, String)>,
    next_address: usize,
}

const METHODS: [&str; 9] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];
/// A span has two, and few are spoken with at a time.
const ADDRESSES: usize = 8;
const NO_ERROR: u32 = 0;
const OTHER_METHOD: &str = "_OTHER";
const REDACTED: &str = "REDACTED";
/// Query keys whose values are credentials (semantic conventions, `url.query`).
const SECRET_KEYS: [&str; 4] = ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"];

impl Describer {
    pub(crate) fn new(conventions: Conventions) -> Self {
        Self {
            conventions,
            ..Self::default()
        }
    }

    /// The span's name: `{method} {route}`, or the method alone; of a gRPC call, its method.
    pub(crate) fn name(&mut self, span: &Span, name: &mut String) {
        name.clear();
        if span.exchange.call.is_some() {
            return name.push_str(&rpc::method(span).unwrap_or(Cow::Borrowed("grpc")));
        }
        name.push_str(match method(&span.exchange) {
            None | Some(OTHER_METHOD) => "HTTP",
            Some(method) => method,
        });
        if span.kind == Kind::Server && self.find_route(&span.exchange) {
            name.push(' ');
            name.push_str(&self.route);
        }
    }

    pub(crate) fn attributes(&mut self, span: &Span, out: &mut impl Attributes) {
        let Span { exchange, kind, .. } = span;
        // gRPC-Web and Connect are HTTP to whatever stands between.
        let call = exchange.call.as_ref();
        let is_http = call.is_none_or(|call| call.kind != grpc::Kind::Grpc);
        if let Some(call) = call {
            rpc::attributes(span, call, out);
        }
        if let Some(method) = method(exchange).filter(|_| is_http) {
            out.text("http.request.method", method);
            if method == OTHER_METHOD {
                out.text("http.request.method_original", &text(&exchange.method));
            }
        }
        match (kind, is_http) {
            (Kind::Server, true) => self.server(span, out),
            (Kind::Client, true) => self.client(span, out),
            (Kind::Server, false) => self.ends_of_server(span, out),
            (Kind::Client, false) => self.server_address(span, &span.peer, out),
        }
        if let Some(status) = exchange.status {
            out.int("http.response.status_code", status.into());
        }
        if let Some(reason) = self.error(span) {
            out.text("error.type", reason);
        }
        let sizes = [
            ("http.request.body.size", exchange.request_body),
            ("http.response.body.size", exchange.response_body),
        ];
        for (key, size) in sizes {
            if let Some(size) = size {
                out.int(key, i64::try_from(size).unwrap_or(i64::MAX));
            }
        }
        if let Some(agent) = &exchange.user_agent {
            out.text("user_agent.original", &text(agent));
        }
        self.headers(exchange, out);
        let version = match exchange.version {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
            Version::Http2 => "2",
        };
        out.text("network.protocol.version", version);
        match &span.peer {
            Endpoint::Inet(address) => {
                out.text("network.peer.address", self.address(address));
                out.int("network.peer.port", address.port().into());
            }
            Endpoint::Unix => out.text("network.transport", "unix"),
            Endpoint::Unproved => {}
        }
        if let Some(service) = &span.peer_service {
            out.text("service.peer.name", &service.name);
            if !service.namespace.is_empty() {
                out.text("service.peer.namespace", &service.namespace);
            }
        }
        if let Some(hello) = &span.hello {
            if let Some(name) = &hello.server_name {
                out.text("tls.client.server_name", name);
            }
            // Nothing else makes both sides speak it (RFC 9113 §3.2).
            if hello.offers_http2 && exchange.version == Version::Http2 {
                out.text("tls.next_protocol", "h2");
            }
        }
        out.int("thread.id", span.tid.into());
        out.text("weft.link", span.link.name());
        let lacks = [
            ("request_head", span.partial.request_head),
            ("response_head", span.partial.response_head),
            ("end", span.partial.end),
            ("peer", span.partial.peer),
        ];
        if lacks.iter().any(|(_, lacking)| *lacking) {
            let mut names = [""; 4];
            let mut count = 0;
            for (name, _) in lacks.iter().filter(|(_, lacking)| *lacking) {
                names[count] = name;
                count += 1;
            }
            out.list("weft.partial", &names[..count]);
        }
    }

    fn server(&mut self, span: &Span, out: &mut impl Attributes) {
        let exchange = &span.exchange;
        let target = text(&exchange.target);
        let (path, query) = path_and_query(&target);
        out.text("url.scheme", scheme(span));
        if let Some(path) = path {
            out.text("url.path", path);
        }
        if let Some(query) = query {
            out.text("url.query", &redact(query));
        }
        if self.find_route(exchange) {
            out.text("http.route", &self.route);
        }
        self.ends_of_server(span, out);
    }

    fn ends_of_server(&mut self, span: &Span, out: &mut impl Attributes) {
        self.server_address(span, &span.local, out);
        if let Endpoint::Inet(address) = &span.peer {
            out.text("client.address", self.address(address));
            out.int("client.port", address.port().into());
        }
    }

    fn client(&mut self, span: &Span, out: &mut impl Attributes) {
        let exchange = &span.exchange;
        let target = text(&exchange.target);
        let host = exchange.host.as_deref().map(text);
        self.scratch.clear();
        if target.starts_with('/') {
            self.scratch.push_str(scheme(span));
            self.scratch.push_str("://");
            match (&host, &span.peer) {
                (Some(host), _) => self.scratch.push_str(host),
                (None, Endpoint::Inet(address)) => {
                    let _ = write!(self.scratch, "{}", canonical(address));
                }
                (None, Endpoint::Unix | Endpoint::Unproved) => self.scratch.push_str("localhost"),
            }
        }
        match target.split_once('?') {
            Some((path, query)) => {
                self.scratch.push_str(path);
                self.scratch.push('?');
                self.scratch.push_str(&redact(query));
            }
            None => self.scratch.push_str(&target),
        }
        if self.scratch.contains("://") {
            out.text("url.full", without_credentials(&self.scratch).as_ref());
        }
        self.server_address(span, &span.peer, out);
    }

    /// The server as the client calls it, else as the connection has it.
    fn server_address(&mut self, span: &Span, endpoint: &Endpoint, out: &mut impl Attributes) {
        let host = span.exchange.host.as_deref();
        let (named, port) = host.map_or((None, None), authority);
        match (named, endpoint) {
            (Some(name), _) => {
                out.text("server.address", &name);
                out.int(
                    "server.port",
                    port.unwrap_or(if span.tls { 443 } else { 80 }).into(),
                );
            }
            (None, Endpoint::Inet(address)) => {
                out.text("server.address", self.address(address));
                out.int("server.port", address.port().into());
            }
            (None, Endpoint::Unix | Endpoint::Unproved) => {}
        }
    }

    fn headers(&self, exchange: &Http, out: &mut impl Attributes) {
        let keys = if exchange.call.is_some() {
            &self.conventions.metadata_keys
        } else {
            &self.conventions.header_keys
        };
        for (index, key) in keys.iter().enumerate() {
            let index = u16::try_from(index).ok();
            let values: Vec<Cow<'_, str>> = exchange
                .headers
                .iter()
                .filter(|(kept, _)| Some(*kept) == index)
                .map(|(_, value)| text(value))
                .collect();
            if !values.is_empty() {
                let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
                out.list(key, &values);
            }
        }
    }

    /// `error.type` when the exchange failed from this side's view.
    fn error(&mut self, span: &Span) -> Option<&str> {
        if status(span) == Status::Unset {
            return None;
        }
        if let Some(name) = span
            .exchange
            .call
            .as_ref()
            .and_then(|call| rpc::status_name(span, call))
        {
            return Some(name);
        }
        match span.outcome {
            Outcome::ConnectionClosed => Some("connection_closed"),
            Outcome::Timeout => Some("timeout"),
            Outcome::Reset { code, .. } => Some(code.map_or("stream_reset", reset_name)),
            Outcome::Complete | Outcome::Upgraded | Outcome::Open => {
                self.scratch.clear();
                let _ = write!(self.scratch, "{}", span.exchange.status?);
                Some(&self.scratch)
            }
        }
    }

    fn find_route(&mut self, exchange: &Http) -> bool {
        let Self {
            conventions, route, ..
        } = self;
        match path_and_query(&text(&exchange.target)).0 {
            Some(path) => conventions.routes.find(path, route),
            None => false,
        }
    }

    fn address(&mut self, address: &SocketAddr) -> &str {
        let ip = canonical(address).ip();
        let known = self.addresses.iter().position(|(known, _)| *known == ip);
        let index = known.unwrap_or_else(|| {
            if self.addresses.len() < ADDRESSES {
                self.addresses.push((ip, ip.to_string()));
                return self.addresses.len() - 1;
            }
            let index = self.next_address;
            self.next_address = (index + 1) % ADDRESSES;
            let (known, text) = &mut self.addresses[index];
            *known = ip;
            text.clear();
            let _ = write!(text, "{ip}");
            index
        });
        &self.addresses[index].1
    }
}

/// Server errors count against both sides, client errors against the client, and an exchange that
/// did not come to its end against whoever sees it.
pub(crate) fn status(span: &Span) -> Status {
    if let Some(status) = span
        .exchange
        .call
        .as_ref()
        .and_then(|call| rpc::status(span, call))
    {
        return status;
    }
    let bad = match span.kind {
        Kind::Server => 500,
        Kind::Client => 400,
    };
    match (span.outcome, span.exchange.status) {
        (Outcome::ConnectionClosed | Outcome::Timeout, _) => Status::Error,
        // A server need not go on with a request, once it has answered (RFC 9113 §8.1).
        (
            Outcome::Reset {
                code: Some(NO_ERROR),
                ..
            },
            Some(status),
        ) if status < bad => Status::Unset,
        (Outcome::Reset { .. }, _) => Status::Error,
        (_, Some(status)) if status >= bad => Status::Error,
        (Outcome::Complete | Outcome::Upgraded | Outcome::Open, _) => Status::Unset,
    }
}

/// RFC 9113 §7, in lower case.
fn reset_name(code: u32) -> &'static str {
    const NAMES: [&str; 14] = [
        "no_error",
        "protocol_error",
        "internal_error",
        "flow_control_error",
        "settings_timeout",
        "stream_closed",
        "frame_size_error",
        "refused_stream",
        "cancel",
        "compression_error",
        "connect_error",
        "enhance_your_calm",
        "inadequate_security",
        "http_1_1_required",
    ];
    NAMES.get(code as usize).copied().unwrap_or("stream_reset")
}

/// `None`: not known.
fn method(exchange: &Http) -> Option<&'static str> {
    if exchange.method.is_empty() {
        return None;
    }
    let known = METHODS
        .iter()
        .find(|name| name.as_bytes() == &*exchange.method);
    Some(known.copied().unwrap_or(OTHER_METHOD))
}

pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    // Nearly always, and sooner told.
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Path and query of a request target in origin or absolute form (RFC 9112, 3.2).
pub(crate) fn path_and_query(target: &str) -> (Option<&str>, Option<&str>) {
    let scheme = if target.starts_with('/') {
        None
    } else {
        target.find("://")
    };
    let local = match scheme {
        Some(scheme) => {
            let rest = &target[scheme + 3..];
            rest.find(['/', '?']).map_or("/", |start| &rest[start..])
        }
        None => target,
    };
    match local.split_once('?') {
        Some(("", query)) => (Some("/"), Some(query)),
        Some((path, query)) if path.starts_with('/') => (Some(path), Some(query)),
        None if local.starts_with('/') || local == "*" => (Some(local), None),
        _ => (None, None),
    }
}

/// Name and port of a `Host` field (RFC 9110, 7.2).
fn authority(host: &[u8]) -> (Option<Cow<'_, str>>, Option<u16>) {
    let split = match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if host.last() != Some(&b']') => colon,
        _ => host.len(),
    };
    let (name, port) = host.split_at(split);
    let name = name
        .strip_prefix(b"[")
        .and_then(|name| name.strip_suffix(b"]"))
        .unwrap_or(name);
    let port = std::str::from_utf8(port)
        .ok()
        .and_then(|port| port.strip_prefix(':')?.parse().ok());
    ((!name.is_empty()).then(|| text(name)), port)
}

/// IPv4 addresses that a dual-stack socket shows as IPv6 ones are written as what they are.
fn canonical(address: &SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn redact(query: &str) -> Cow<'_, str> {
    let secret = |pair: &str| {
        let key = pair.split_once('=').map_or(pair, |(key, _)| key);
        SECRET_KEYS.contains(&key)
    };
    if !query.split('&').any(secret) {
        return Cow::Borrowed(query);
    }
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if secret(pair) => Cow::Owned(format!("{key}={REDACTED}")),
        _ => Cow::Borrowed(pair),
    });
    Cow::Owned(pairs.collect::<Vec<_>>().join("&"))
}

/// `user:password@` never leaves the machine.
fn without_credentials(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Cow::Borrowed(url);
    };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) => Cow::Owned(format!(
            "{scheme}://{REDACTED}:{REDACTED}@{}",
            &rest[at + 1..]
        )),
        None => Cow::Borrowed(url),
    }
}

fn scheme(span: &Span) -> &'static str {
    if span.tls { "https" } else { "http" }
}
