//! HTTP/2 in plaintext, known beforehand.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::{Answer, ClientError, Outgoing};

/// Streams of one connection.
#[derive(Clone, Debug)]
pub struct Http2 {
    server: SocketAddr,
    open: Arc<Mutex<Option<SendRequest<Full<Bytes>>>>>,
}

impl Http2 {
    pub(super) fn new(server: SocketAddr) -> Self {
        Self {
            server,
            open: Arc::default(),
        }
    }

    pub(super) async fn send(&self, request: Outgoing) -> Result<Answer, ClientError> {
        let mut open = self.connection().await?;
        let broken = |error: hyper::Error| {
            if error.is_closed() || error.is_canceled() {
                ClientError::Stale(error)
            } else {
                ClientError::Broken(error)
            }
        };
        open.ready().await.map_err(broken)?;
        let request = Request::builder()
            .method(request.method)
            .uri(format!("http://{}{}", self.server, request.target))
            .header(header::USER_AGENT, "ground-truth/1")
            .header(header::ACCEPT, "*/*")
            .body(Full::new(request.body))?;
        let answer = open.send_request(request).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(ClientError::Broken)?;
        Ok(Answer {
            status: head.status.as_u16().into(),
            body: body.to_bytes(),
            messages: 0,
        })
    }

    /// Another one where the server has closed the last, which nobody used for a while.
    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let mut open = self.open.lock().await;
        match &*open {
            Some(open) if !open.is_closed() => Ok(open.clone()),
            _ => Ok(open.insert(connect(self.server).await?).clone()),
        }
    }
}

async fn connect(server: SocketAddr) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let stream = TcpStream::connect(server)
        .await
        .map_err(ClientError::Connect)?;
    stream.set_nodelay(true).map_err(ClientError::Connect)?;
    let (open, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(ClientError::Broken)?;
    // Its error reaches the requests that met it.
    tokio::spawn(connection);
    Ok(open)
}
