//! gRPC in plaintext by tonic; messages are bytes as they are.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::Uri;
use http::uri::PathAndQuery;
use tokio::sync::OnceCell;
use tonic::client;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::tokio_stream::iter;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use super::{Answer, ClientError, Outgoing};
use crate::truth::Status;

/// Calls on one connection.
#[derive(Clone, Debug)]
pub struct Grpc {
    server: SocketAddr,
    open: Arc<OnceCell<Channel>>,
}

/// gRPC's names of its status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Grpc {
    pub(super) fn new(server: SocketAddr) -> Self {
        Self {
            server,
            open: Arc::default(),
        }
    }

    pub(super) async fn send(&self, request: Outgoing) -> Result<Answer, ClientError> {
        let open = self.open.get_or_try_init(|| connect(self.server)).await?;
        let mut calls = client::Grpc::new(open.clone());
        calls.ready().await?;
        let path = PathAndQuery::try_from(request.target).map_err(http::Error::from)?;
        let messages = vec![request.body; request.messages];
        let mut call = Request::new(iter(messages));
        if let Ok(via) = request.via.parse()
            && !request.via.is_empty()
        {
            call.metadata_mut().insert("via", via);
        }
        let (body, messages, status) = match calls.streaming(call, path, Raw).await {
            Ok(answers) => all(answers.into_inner()).await,
            Err(status) => (Bytes::new(), 0, status.code()),
        };
        let name = CODES.get(status as usize).unwrap_or(&CODES[2]);
        Ok(Answer {
            status: Status::Rpc((*name).to_owned()),
            body,
            messages,
        })
    }
}

async fn connect(server: SocketAddr) -> Result<Channel, ClientError> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(server.to_string())
        .path_and_query("/")
        .build()?;
    Ok(Channel::builder(uri).connect().await?)
}

/// The first message, how many there are, and how the call ended.
async fn all(mut answers: Streaming<Bytes>) -> (Bytes, usize, tonic::Code) {
    let (mut first, mut count) = (Bytes::new(), 0);
    loop {
        match answers.message().await {
            Ok(Some(message)) if count == 0 => (first, count) = (message, 1),
            Ok(Some(_)) => count += 1,
            Ok(None) => return (first, count, tonic::Code::Ok),
            Err(status) => return (first, count, status.code()),
        }
    }
}

struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}
