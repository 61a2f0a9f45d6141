//! One question at a time to a node, or to the own engine behind the gateway's back.

use std::io;
use std::path::Path;
use std::time::Duration;

use dqlite_client::tls::TlsError;
use dqlite_proto::{
    Event, Failure, Limits, Metadata, NodeInfo, Params, ProtocolError, Request, Response, Session,
    ValueRef, Violation,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::address;
use crate::tls::Security;

/// Why a question was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// The network's words.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The answers are not those of a node.
    #[error("not a dqlite node: {0}")]
    Stranger(#[from] ProtocolError),
    /// A certificate will not do, theirs or ours.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// The question cannot be asked.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// The node says no.
    #[error("{0}")]
    Refused(Failure),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect(security: &Security, address: &str) -> Result<Box<dyn Stream>, PeerError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = security.tls() else {
        return Ok(Box::new(stream));
    };
    let host = address::host(address);
    let stream = dqlite_client::tls::stream::connect(&tls.identity(), &host, stream).await?;
    Ok(Box::new(stream))
}

/// A connection on which one request is answered before the next is asked.
pub(crate) struct Peer {
    stream: Box<dyn Stream>,
    session: Session,
    patience: Duration,
}

impl Peer {
    /// Connects to another node; `patience` bounds this and every question.
    pub(crate) async fn dial(
        security: &Security,
        address: &str,
        patience: Duration,
    ) -> Result<Self, PeerError> {
        timeout(patience, connect(security, address))
            .await
            .map_err(|_| PeerError::Timeout(patience))?
            .map(|stream| Self::over(stream, patience))
    }

    /// Connects to the engine of this process.
    pub(crate) async fn private(name: &Path, patience: Duration) -> Result<Self, PeerError> {
        let stream = UnixStream::connect(name).await?;
        Ok(Self::over(Box::new(stream), patience))
    }

    fn over(stream: Box<dyn Stream>, patience: Duration) -> Self {
        Self {
            stream,
            session: Session::new(Limits::default()),
            patience,
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn call(&mut self, request: &Request<'_>) -> Result<Response, PeerError> {
        self.call_within(request, self.patience).await
    }

    /// Asks, and waits longer or shorter than usual.
    pub(crate) async fn call_within(
        &mut self,
        request: &Request<'_>,
        patience: Duration,
    ) -> Result<Response, PeerError> {
        self.session.queue(request)?;
        timeout(patience, self.exchange())
            .await
            .map_err(|_| PeerError::Timeout(patience))?
    }

    async fn exchange(&mut self) -> Result<Response, PeerError> {
        loop {
            match self.session.event()? {
                Some(Event::Reply { response, .. }) => return Ok(response),
                Some(Event::Failed { failure, .. }) => return Err(PeerError::Refused(failure)),
                Some(Event::Rows { .. }) | None => {}
            }
            self.transfer().await?;
        }
    }

    /// Sends what waits, and reads something.
    async fn transfer(&mut self) -> io::Result<()> {
        while !self.session.output().is_empty() {
            let sent = self.stream.write(self.session.output()).await?;
            self.session.sent(sent);
        }
        match self.stream.read_buf(self.session.input()).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The number that is the first value of a query's first row.
    pub(crate) async fn number(&mut self, sql: &str) -> Result<Option<u64>, PeerError> {
        let params = Params::new();
        self.session.queue(&Request::QuerySql {
            sql,
            params: (&params).into(),
        })?;
        let patience = self.patience;
        timeout(patience, self.first_number())
            .await
            .map_err(|_| PeerError::Timeout(patience))?
    }

    async fn first_number(&mut self) -> Result<Option<u64>, PeerError> {
        let mut found = None;
        loop {
            match self.session.event()? {
                Some(Event::Rows { frame, done, .. }) => {
                    if let Ok(Some(row)) = frame.rows().next_row()
                        && let Some(Ok(ValueRef::Integer(number))) = row.values().next()
                    {
                        found = found.or(u64::try_from(number).ok());
                    }
                    if done {
                        return Ok(found);
                    }
                }
                Some(Event::Failed { failure, .. }) => return Err(PeerError::Refused(failure)),
                Some(Event::Reply { .. }) => return Ok(found),
                None => self.transfer().await?,
            }
        }
    }

    /// Id and address of the leader it knows; `None` if it knows none.
    pub(crate) async fn leader(&mut self) -> Result<Option<(u64, String)>, PeerError> {
        match self.call(&Request::Leader).await? {
            Response::Server { id, address } if !address.is_empty() => Ok(Some((id, address))),
            _ => Ok(None),
        }
    }

    /// The members it knows.
    pub(crate) async fn members(&mut self) -> Result<Vec<NodeInfo>, PeerError> {
        match self.call(&Request::cluster()).await? {
            Response::Servers(members) => Ok(members),
            _ => Ok(Vec::new()),
        }
    }

    /// What it says of itself.
    pub(crate) async fn describe(&mut self) -> Result<Metadata, PeerError> {
        match self.call(&Request::describe()).await? {
            Response::Metadata(metadata) => Ok(metadata),
            _ => Ok(Metadata::default()),
        }
    }
}
