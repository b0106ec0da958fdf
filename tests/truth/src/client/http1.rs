//! HTTP/1.1, one request at a time on a connection.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Answer, ClientError, Outgoing, Reuse};

/// A connection that is opened when it is needed and, unless told otherwise, kept.
#[derive(Debug)]
pub struct Http1 {
    server: SocketAddr,
    reuse: Reuse,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Http1 {
    pub(super) fn new(server: SocketAddr, reuse: Reuse) -> Self {
        Self {
            server,
            reuse,
            open: None,
        }
    }

    pub(super) async fn send(&mut self, request: Outgoing) -> Result<Answer, ClientError> {
        let mut head = Request::builder()
            .method(request.method)
            .uri(request.target)
            .header(header::HOST, self.server.to_string())
            .header(header::USER_AGENT, "ground-truth/1")
            .header(header::ACCEPT, "*/*");
        if self.reuse == Reuse::Never {
            head = head.header(header::CONNECTION, "close");
        }
        let request = head.body(Full::new(request.body))?;
        let kept = self.open.take().filter(|open| !open.is_closed());
        let was_kept = kept.is_some();
        let mut open = match kept {
            Some(open) => open,
            None => self.connect().await?,
        };
        let broken = |error| {
            if was_kept {
                ClientError::Stale(error)
            } else {
                ClientError::Broken(error)
            }
        };
        open.ready().await.map_err(broken)?;
        let (head, body) = open
            .send_request(request)
            .await
            .map_err(broken)?
            .into_parts();
        let body = body
            .collect()
            .await
            .map_err(ClientError::Broken)?
            .to_bytes();
        if self.reuse == Reuse::Keep {
            self.open = Some(open);
        }
        Ok(Answer {
            status: head.status.as_u16().into(),
            body,
            messages: 0,
        })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let stream = TcpStream::connect(self.server)
            .await
            .map_err(ClientError::Connect)?;
        stream.set_nodelay(true).map_err(ClientError::Connect)?;
        let (open, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(ClientError::Broken)?;
        // Its error reaches the request that met it.
        tokio::spawn(connection);
        Ok(open)
    }
}
