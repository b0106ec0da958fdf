//! What the driver sends its requests with: libraries that nobody here wrote.

mod grpc;
mod http1;
mod http2;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::time::timeout;

use self::grpc::Grpc;
use self::http1::Http1;
use self::http2::Http2;
use crate::scenario::Protocol;
use crate::truth::Status;

/// A server that is not answering by then will not.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// One request at a time. Connections are opened when they are needed.
#[derive(Debug)]
pub enum Client {
    Http1(Http1),
    /// Clones share the connection.
    Http2(Http2),
    /// Clones share the connection.
    Grpc(Grpc),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reuse {
    /// HTTP/1: keep-alive, as far as the server agrees. Streams: all on one connection.
    Keep,
    /// HTTP/1: a connection for each request. Streams: on a few new connections.
    Never,
}

/// What one request consists of, whatever the protocol makes of it.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub method: Method,
    pub target: String,
    /// gRPC: each message.
    pub body: Bytes,
    /// gRPC: how many messages.
    pub messages: usize,
    /// gRPC: metadata `via`; in HTTP it stands in the target.
    pub via: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: Status,
    /// gRPC: the first message.
    pub body: Bytes,
    /// gRPC: how many messages.
    pub messages: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// Normal at the end of the server's keep-alive time: the request must be sent anew.
    #[error("the server closed the kept connection under the request")]
    Stale(#[source] hyper::Error),
    #[error("no complete answer: {0}")]
    Broken(#[source] hyper::Error),
    #[error("no call: {0}")]
    Call(#[from] tonic::transport::Error),
    #[error("no complete answer within {} s", ANSWER_WITHIN.as_secs())]
    Late,
    #[error("request cannot be built")]
    Request(#[from] http::Error),
}

/// Connections that streams share when they are not to share one.
const FEW: usize = 4;

impl Client {
    /// `count` clients of `server`.
    pub fn pool(protocol: Protocol, server: SocketAddr, reuse: Reuse, count: usize) -> Vec<Self> {
        let connections = match reuse {
            Reuse::Keep => 1,
            Reuse::Never => FEW,
        };
        let turns = 0..count;
        match protocol {
            Protocol::Http1 => turns
                .map(|_| Self::Http1(Http1::new(server, reuse)))
                .collect(),
            Protocol::Http2 => {
                let shared: Vec<_> = (0..connections).map(|_| Http2::new(server)).collect();
                turns
                    .map(|turn| Self::Http2(shared[turn % connections].clone()))
                    .collect()
            }
            Protocol::Grpc => {
                let shared: Vec<_> = (0..connections).map(|_| Grpc::new(server)).collect();
                turns
                    .map(|turn| Self::Grpc(shared[turn % connections].clone()))
                    .collect()
            }
        }
    }

    pub async fn send(&mut self, request: Outgoing) -> Result<Answer, ClientError> {
        let answered = async {
            match self {
                Self::Http1(client) => client.send(request).await,
                Self::Http2(client) => client.send(request).await,
                Self::Grpc(client) => client.send(request).await,
            }
        };
        timeout(ANSWER_WITHIN, answered)
            .await
            .map_err(|_| ClientError::Late)?
    }
}
