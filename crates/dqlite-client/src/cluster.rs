//! Administration of a cluster: who is in it, who leads, and changing both.
//!
//! Every change reads the members first, sends only what is missing, and is confirmed by reading
//! again. So all of them may be repeated after any error.

mod caution;
mod change;
mod dump;

pub mod blocking;
#[cfg(feature = "tokio")]
pub mod tokio;

use std::time::Duration;

use dqlite_proto::outcome::{self, Call, Effect};
use dqlite_proto::{Event, File, Metadata, NodeInfo, Request, Response, Session, Ticket};

use crate::error::{Error, Result};
use crate::exchange::{Exchange, unexpected};

pub(crate) use change::{Change, Next, Operation};
pub use dump::{Dump, Piece};

/// Time for a node to answer before it counts as unreachable.
const REACH_TIMEOUT: Duration = Duration::from_secs(2);

/// A node and its address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeRef {
    /// Its raft id.
    pub id: u64,
    /// Its address.
    pub address: String,
}

/// What one node knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who leads, if the node knows. Nodes without a vote never do.
    pub leader: Option<NodeRef>,
    /// The members; none if the node belongs to no cluster yet.
    pub members: Vec<NodeInfo>,
}

/// One request and its answer.
#[derive(Debug)]
pub(crate) struct Ask {
    ticket: Ticket,
    call: Call,
    address: String,
}

impl Ask {
    /// Queues a request.
    pub(crate) fn start(
        session: &mut Session,
        request: &Request<'_>,
        address: &str,
    ) -> Result<Self> {
        let effect = match request {
            Request::Add { .. }
            | Request::Assign { .. }
            | Request::Remove { .. }
            | Request::Transfer { .. }
            | Request::Weight { .. } => Effect::Write,
            _ => Effect::Read,
        };
        Ok(Self {
            ticket: session.queue(request)?,
            call: Call {
                effect,
                in_transaction: false,
                one_query: false,
            },
            address: address.to_owned(),
        })
    }
}

impl Exchange for Ask {
    type Output = Response;

    fn event(&mut self, _: &mut Session, event: Event) -> Result<Option<Response>> {
        match event {
            Event::Reply { response, .. } => Ok(Some(response)),
            Event::Rows { .. } => Err(unexpected(&self.address)),
            Event::Failed { failure, .. } => {
                let verdict = outcome::of_failure(&failure, self.call);
                Err(Error::rejected(&self.address, failure, verdict, self.call))
            }
        }
    }

    fn ticket(&self) -> Option<Ticket> {
        Some(self.ticket)
    }

    fn call(&self) -> Call {
        self.call
    }
}

/// A dump could not be written.
pub(crate) fn unwritten(error: std::io::Error) -> Error {
    let text = format!("cannot write the dump: {}", crate::error::reason(&error));
    Error::usage(text).with_source(error)
}

/// Reading answers.
pub(crate) fn leader(response: Response, address: &str) -> Result<Option<NodeRef>> {
    match response {
        Response::Server { address, .. } if address.is_empty() => Ok(None),
        Response::Server { id, address } => Ok(Some(NodeRef { id, address })),
        _ => Err(unexpected(address)),
    }
}

pub(crate) fn members(response: Response, address: &str) -> Result<Vec<NodeInfo>> {
    match response {
        Response::Servers(members) => Ok(members),
        _ => Err(unexpected(address)),
    }
}

pub(crate) fn metadata(response: &Response, address: &str) -> Result<Metadata> {
    match response {
        Response::Metadata(metadata) => Ok(*metadata),
        _ => Err(unexpected(address)),
    }
}

pub(crate) fn files(response: Response, address: &str) -> Result<Vec<File>> {
    match response {
        Response::Files(files) => Ok(files),
        _ => Err(unexpected(address)),
    }
}

pub(crate) fn empty(response: &Response, address: &str) -> Result<()> {
    match response {
        Response::Empty => Ok(()),
        _ => Err(unexpected(address)),
    }
}
