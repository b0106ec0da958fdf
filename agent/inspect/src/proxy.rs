//! Event-loop proxies: programs that send on what they have read, and nothing else. All of them export functions
//! for their modules, whoever has built them.

use crate::elf::Symbols;

/// A program that passes requests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    Nginx,
    HaProxy,
    /// From the version on that has dynamic modules (1.34).
    Envoy,
}

/// Functions that a program has all of.
const MARKS: [(Proxy, &[&str]); 2] = [
    (
        Proxy::Nginx,
        &["ngx_http_upstream_create", "ngx_http_upstream_init"],
    ),
    (Proxy::HaProxy, &["stream_new", "http_process_request"]),
];

/// What Envoy's functions for modules begin with; which there are differs between versions.
const ENVOY: &str = "envoy_dynamic_module_callback_http_";

pub(crate) fn wants(name: &[u8]) -> bool {
    if name.starts_with(ENVOY.as_bytes()) {
        return true;
    }
    let mut marks = MARKS.iter().flat_map(|(_, names)| *names);
    marks.any(|mark| mark.as_bytes() == name)
}

pub(crate) fn find(symbols: &Symbols<'_>) -> Option<Proxy> {
    let mut all = symbols.iter();
    if all.any(|symbol| symbol.name.starts_with(ENVOY)) {
        return Some(Proxy::Envoy);
    }
    MARKS
        .iter()
        .find(|(_, names)| {
            names
                .iter()
                .all(|name| symbols.named(name).next().is_some())
        })
        .map(|(proxy, _)| *proxy)
}
