//! uvloop: its functions are local, and named where the module was not stripped; its wheels are not.

use super::entry;
use crate::Site;
use crate::elf::{Image, Symbols};

/// Where uvloop calls protocols and is given what it sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transports {
    /// Functions that a stream's bytes are read for; their first argument is the `uv_stream_t`.
    pub reads: Vec<Site>,
    /// What tells a protocol that it is connected; its first argument is the transport.
    pub connected: Vec<Site>,
    /// Methods by which a transport, their first argument, is given bytes.
    pub writes: Vec<Site>,
}

const INIT: &str = "PyInit_loop";
const READS: [&str; 2] = [
    "__pyx_f_6uvloop_4loop___uv_stream_on_read",
    "__pyx_f_6uvloop_4loop___uv_stream_buffered_on_read",
];
const CONNECTED: &str = "__pyx_f_6uvloop_4loop_15UVBaseTransport__call_connection_made";
/// Since 0.20; before, only what Python calls is one function.
const WRITE: &str = "__pyx_f_6uvloop_4loop_8UVStream_write";
/// What Python calls: a number of the method follows, and its name.
const METHOD: &str = "__pyx_pw_6uvloop_4loop_8UVStream_";
/// The module holds it.
const MARK: &[u8] = b"uvloop.loop.Loop\0";

pub(super) fn wants(name: &[u8]) -> bool {
    let exact = [INIT, CONNECTED, WRITE, READS[0], READS[1]];
    exact.map(str::as_bytes).contains(&name)
        || std::str::from_utf8(name)
            .is_ok_and(|name| is_method(name, "write") || is_method(name, "writelines"))
}

fn is_method(symbol: &str, name: &str) -> bool {
    symbol
        .strip_prefix(METHOD)
        .and_then(|rest| rest.strip_suffix(name))
        .is_some_and(|number| number.bytes().all(|it| it.is_ascii_digit()))
}

/// `None`: another file.
pub(super) fn find(
    image: &Image<'_>,
    symbols: &Symbols<'_>,
) -> Option<Result<Transports, &'static str>> {
    symbols.named(INIT).next()?;
    let named = |name: &str| -> Vec<Site> {
        let all = symbols.named(name);
        all.filter_map(|it| entry(image, it.address)).collect()
    };
    let reads = READS.map(named).concat();
    let mut found = Transports {
        reads,
        connected: named(CONNECTED),
        writes: named(WRITE),
    };
    if found == Transports::default() {
        let mut regions = image.regions();
        let is_uvloop = regions.any(|region| memchr::memmem::find(region.bytes, MARK).is_some());
        return is_uvloop.then_some(Err("uvloop's functions are not named: it was stripped"));
    }
    let methods = |name: &str| -> Vec<Site> {
        let all = symbols.iter().filter(|it| is_method(it.name, name));
        all.filter_map(|it| entry(image, it.address)).collect()
    };
    if found.writes.is_empty() {
        found.writes = methods("write");
    }
    let lines = methods("writelines");
    let whole = found.reads.len() == READS.len()
        && !found.connected.is_empty()
        && !found.writes.is_empty()
        && !lines.is_empty();
    found.writes.extend(lines);
    Some(if whole {
        Ok(found)
    } else {
        Err("not all of the functions by which uvloop reads and writes are found")
    })
}
