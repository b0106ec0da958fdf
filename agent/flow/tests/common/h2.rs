//! Frames of HTTP/2, and field blocks that refer to no table but the static one.

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    let mut frame = len.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

/// The first bytes that a client sends.
pub fn hello() -> Vec<u8> {
    [PREFACE, &settings()].concat()
}

pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    frame(1, flags | END_HEADERS, stream, &block)
}

/// With a content type that stands in a table which was not seen.
pub fn post_with_unknown_type(stream: u32, path: &str) -> Vec<u8> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", path)];
    let mut frame = headers(stream, 0, &fields);
    frame.push(0x80 | 62);
    frame[2] += 1;
    frame
}

pub fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
    ];
    headers(stream, END_STREAM, &fields)
}

/// A gRPC call with one message.
pub fn call(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/shop.Cart/Add"),
        (":authority", "a"),
        ("content-type", "application/grpc"),
    ];
    fields.extend(more);
    [headers(stream, 0, &fields), message(stream, END_STREAM)].concat()
}

pub fn message(stream: u32, flags: u8) -> Vec<u8> {
    data(stream, flags, &[0, 0, 0, 0, 2, 8, 1])
}

pub fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(0, flags, stream, payload)
}

pub fn ok(stream: u32) -> Vec<u8> {
    [status(stream, "200", 0), data(stream, END_STREAM, b"ok")].concat()
}

pub fn status(stream: u32, status: &str, flags: u8) -> Vec<u8> {
    headers(stream, flags, &[(":status", status)])
}

pub fn trailers(stream: u32, grpc_status: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &[("grpc-status", grpc_status)])
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(3, 0, stream, &code.to_be_bytes())
}

pub fn go_away(last_stream: u32) -> Vec<u8> {
    frame(7, 0, 0, &[last_stream.to_be_bytes(), [0; 4]].concat())
}
