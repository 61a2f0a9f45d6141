//! The first words on a connection: who leads, what can you do, open the database. PURE.
//!
//! ```text
//! handshake, LEADER  ->  somebody else      the answer of a search
//!                    ->  nobody             CLUSTER, if asked for, then the answer of a search
//!                    ->  itself             probes, CLUSTER and OPEN as needed, then ready
//! ```

use dqlite_proto::outcome::{self, Call, Effect};
use dqlite_proto::{Event, NodeInfo, Request, Response, Session, Ticket};

use crate::address::Address;
use crate::error::{AttemptKind, Error, Result};
use crate::exchange::{Exchange, unexpected};
use crate::search::Answer;

/// What a connection is for.
#[derive(Clone, Debug)]
pub(crate) struct Purpose {
    /// The database to open; none for administration.
    pub(crate) database: Option<String>,
    /// Ask a server that knows no leader for the members.
    pub(crate) ask_members: bool,
    /// Ask the leader for the members.
    pub(crate) learn_members: bool,
    /// Take any server, whether it leads or not.
    pub(crate) any: bool,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Greeting {
    /// The session is ready; the members, if they were asked for.
    Ready(Option<Vec<NodeInfo>>),
    /// This is not the one.
    Elsewhere(Answer),
    /// It leads, and refuses for a reason that another server would share.
    Refused(Error),
}

/// The exchange of first words.
#[derive(Debug)]
pub(crate) struct Hello {
    address: Address,
    purpose: Purpose,
    leader: Ticket,
    welcome: Option<Ticket>,
    members: Option<Ticket>,
    open: Option<Ticket>,
    learnt: Option<Vec<NodeInfo>>,
    confirmed: bool,
}

const CALL: Call = Call {
    effect: Effect::Read,
    in_transaction: false,
    one_query: false,
};

impl Hello {
    /// Queues the first request.
    pub(crate) fn start(session: &mut Session, address: Address, purpose: Purpose) -> Result<Self> {
        Ok(Self {
            address,
            purpose,
            leader: session.queue(&Request::Leader)?,
            welcome: None,
            members: None,
            open: None,
            learnt: None,
            confirmed: false,
        })
    }

    /// Whether the server has said that it leads.
    pub(crate) const fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    fn named(&mut self, session: &mut Session, leader: &str) -> Result<Option<Greeting>> {
        let itself = Address::advertised(leader).is_ok_and(|leader| self.address.is_named(&leader));
        if itself || self.purpose.any {
            return self.settle_in(session);
        }
        if !leader.is_empty() {
            let answer = Answer::Redirect(leader.to_owned());
            return Ok(Some(Greeting::Elsewhere(answer)));
        }
        if self.purpose.ask_members {
            self.members = Some(session.queue(&Request::cluster())?);
            return Ok(None);
        }
        Ok(Some(Greeting::Elsewhere(Answer::NoLeader(None))))
    }

    /// It leads: asks for all that is missing in one flight.
    fn settle_in(&mut self, session: &mut Session) -> Result<Option<Greeting>> {
        self.confirmed = true;
        if self.purpose.database.is_some() && session.class().is_none() {
            session.probe()?;
            // A number of our own is of no use: servers ignore it.
            self.welcome = Some(session.queue(&Request::Client { id: 0 })?);
        }
        if self.purpose.learn_members {
            self.members = Some(session.queue(&Request::cluster())?);
        }
        if let Some(name) = &self.purpose.database {
            self.open = Some(session.queue(&Request::open(name))?);
        }
        Ok(self.ready())
    }

    fn ready(&mut self) -> Option<Greeting> {
        let done = self.members.is_none() && self.open.is_none();
        done.then(|| Greeting::Ready(self.learnt.take()))
    }

    fn reply(&mut self, ticket: Ticket, response: Response) -> Result<Option<Greeting>> {
        match response {
            Response::Servers(members) if self.members == Some(ticket) => {
                self.members = None;
                if !self.confirmed {
                    let answer = Answer::NoLeader(Some(members));
                    return Ok(Some(Greeting::Elsewhere(answer)));
                }
                self.learnt = Some(members);
            }
            // The session keeps what it says.
            Response::Welcome { .. } if self.welcome == Some(ticket) => return Ok(None),
            Response::Db { .. } if self.open == Some(ticket) => self.open = None,
            _ => return Err(unexpected(self.address.as_str())),
        }
        Ok(self.ready())
    }
}

impl Exchange for Hello {
    type Output = Greeting;

    fn event(&mut self, session: &mut Session, event: Event) -> Result<Option<Greeting>> {
        match event {
            Event::Reply {
                ticket,
                response: Response::Server { address, .. },
            } if ticket == self.leader => self.named(session, &address),
            Event::Reply { ticket, response } => self.reply(ticket, response),
            // What it can do beyond the protocol stays unknown.
            Event::Failed { ticket, .. } if self.welcome == Some(ticket) => Ok(None),
            // Members are a courtesy; the connection is as good without.
            Event::Failed { ticket, .. } if self.confirmed && self.members == Some(ticket) => {
                self.members = None;
                Ok(self.ready())
            }
            Event::Failed { ticket, failure } => {
                let verdict = outcome::of_failure(&failure, CALL);
                let address = self.address.as_str();
                if self.open == Some(ticket) && verdict.after != outcome::After::Lost {
                    let error = Error::rejected(address, failure, verdict, CALL);
                    return Ok(Some(Greeting::Refused(error)));
                }
                let answer = Answer::Failed(AttemptKind::Rejected, failure.to_string());
                Ok(Some(Greeting::Elsewhere(answer)))
            }
            Event::Rows { .. } => Err(unexpected(self.address.as_str())),
        }
    }

    fn ticket(&self) -> Option<Ticket> {
        None
    }

    fn call(&self) -> Call {
        CALL
    }
}
