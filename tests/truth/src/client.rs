//! One connection of the driver: HTTP/1.1, one request at a time.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A server that is not answering by then will not.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A connection that is opened when it is needed and, unless told otherwise, kept.
#[derive(Debug)]
pub struct Client {
    server: SocketAddr,
    reuse: Reuse,
    open: Option<SendRequest<Full<Bytes>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reuse {
    /// Keep-alive, as far as the server agrees.
    Keep,
    /// A connection for each request.
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// Normal at the end of the server's keep-alive time: the request must be sent anew.
    #[error("the server closed the kept connection under the request")]
    Stale(#[source] hyper::Error),
    #[error("no complete answer")]
    Broken(#[source] hyper::Error),
    #[error("no complete answer within {} s", ANSWER_WITHIN.as_secs())]
    Late,
    #[error("request cannot be built")]
    Request(#[from] http::Error),
}

impl Client {
    pub fn new(server: SocketAddr, reuse: Reuse) -> Self {
        Self {
            server,
            reuse,
            open: None,
        }
    }

    /// Whether the connection of the last request can take another.
    pub fn is_open(&mut self) -> bool {
        self.open
            .as_mut()
            .is_some_and(|open| open.is_ready() && !open.is_closed())
    }

    pub async fn send(
        &mut self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, self.server.to_string())
            .header(header::USER_AGENT, "ground-truth/1")
            .header(header::ACCEPT, "*/*");
        if self.reuse == Reuse::Never {
            request = request.header(header::CONNECTION, "close");
        }
        let request = request.body(Full::new(body))?;
        let kept = self.open.take().filter(|open| !open.is_closed());
        let was_kept = kept.is_some();
        let answered = timeout(ANSWER_WITHIN, async {
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
            Ok::<_, ClientError>((
                open,
                Answer {
                    status: head.status.as_u16(),
                    body,
                },
            ))
        });
        let (open, answer) = answered.await.map_err(|_| ClientError::Late)??;
        if self.reuse == Reuse::Keep {
            self.open = Some(open);
        }
        Ok(answer)
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
