//! Event-loop proxies: programs that send on what they have read, and nothing else. Both export their
//! functions for modules, whoever has built them.

use crate::elf::Symbols;

/// A program that passes requests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    Nginx,
    HaProxy,
}

/// Functions that a program has all of.
const MARKS: [(Proxy, &[&str]); 2] = [
    (
        Proxy::Nginx,
        &["ngx_http_upstream_create", "ngx_http_upstream_init"],
    ),
    (Proxy::HaProxy, &["stream_new", "http_process_request"]),
];

pub(crate) fn wants(name: &[u8]) -> bool {
    let mut marks = MARKS.iter().flat_map(|(_, names)| *names);
    marks.any(|mark| mark.as_bytes() == name)
}

pub(crate) fn find(symbols: &Symbols<'_>) -> Option<Proxy> {
    MARKS
        .iter()
        .find(|(_, names)| {
            names
                .iter()
                .all(|name| symbols.named(name).next().is_some())
        })
        .map(|(proxy, _)| *proxy)
}
