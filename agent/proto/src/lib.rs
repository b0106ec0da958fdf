//! Sans-IO wire parsers. Bytes and known gaps come in, messages go out; nothing here reads a
//! clock, a file, a socket, the environment or a global, and nothing panics on any input.
#![forbid(unsafe_code)]

#[cfg(test)]
mod corpus;
pub mod detect;
#[cfg(any(test, feature = "fuzz"))]
mod dice;
pub mod fastcgi;
pub mod grpc;
pub mod http1;
pub mod http2;
pub mod peering;
pub mod propagation;
mod stream;
pub mod tls;
pub mod trace_context;

pub use stream::Piece;
