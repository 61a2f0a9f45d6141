//! What the gateway answers while there is no engine.
//!
//! A node on its first start is up and fresh: it knows no leader and has no members, or claims to
//! found the cluster. Its peers decide by these answers (see [`founder`](crate::founder)).

use std::io;

use bytes::{Bytes, BytesMut};
use dqlite_proto::frame::{Piece, Scanner};
use dqlite_proto::{Capabilities, Code, Failure, NodeInfo, Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

use super::Backend;

/// Nobody has anything to say that is longer before there is a leader.
const REQUEST_BYTES_MAX: u64 = 1 << 20;

/// The answers of a node without an engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Early {
    /// The node itself while it claims to found the cluster.
    pub(crate) claim: Option<NodeInfo>,
}

impl Early {
    fn reply(&self, request: &Request<'_>) -> Response {
        match request {
            Request::Leader => Response::Server {
                id: 0,
                address: String::new(),
            },
            Request::Client { .. } => Response::Welcome {
                heartbeat_timeout_ms: Capabilities::OURS.to_welcome(),
            },
            Request::Cluster { .. } => Response::Servers(self.claim.iter().cloned().collect()),
            _ => {
                let message = "not leader: this node has no cluster yet".to_owned();
                Response::Failure(Failure {
                    code: Code::NOT_LEADER,
                    message,
                })
            }
        }
    }
}

/// Answers on one connection until there is an engine, or the client leaves.
pub(super) async fn answer<S>(
    mut stream: S,
    backend: &mut watch::Receiver<Backend>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // The handshake word was read before.
    let mut scanner = Scanner::replies(REQUEST_BYTES_MAX);
    let mut input = BytesMut::with_capacity(4096);
    let mut body = BytesMut::new();
    let mut header = None;
    loop {
        let mut replies = Vec::new();
        let arrived: Bytes = input.split().freeze();
        let mut rest = &arrived[..];
        while let Some(piece) = scanner.next(&mut rest).map_err(io::Error::other)? {
            match piece {
                Piece::Handshake(_) => {}
                Piece::Header(next) => header = Some(next),
                Piece::Body { bytes, last } => {
                    body.extend_from_slice(bytes);
                    let Some(header) = header.filter(|_| last) else {
                        continue;
                    };
                    let body = body.split();
                    let request = Request::decode(header, &body).map_err(io::Error::other)?;
                    let Backend::Early(early) = &*backend.borrow() else {
                        return Ok(());
                    };
                    early.reply(&request).encode(&mut replies);
                }
            }
        }
        stream.write_all(&replies).await?;
        tokio::select! {
            read = stream.read_buf(&mut input) => if read? == 0 { return Ok(()) },
            _ = backend.wait_for(|backend| matches!(backend, Backend::Engine(_))) => return Ok(()),
        }
    }
}
