//! Requests and what their answers lead to, without I/O: the part that all drivers share. PURE.

use std::time::Duration;

use dqlite_proto::outcome::{Call, Effect};
use dqlite_proto::session::Progress;
use dqlite_proto::{Abandoned, Event, FailureKind, Request, Session, Ticket};

use crate::error::{Error, ErrorKind, Loss, Result};

/// One or more requests that belong together. A driver sends what the session holds, hands every
/// event in, and stops at the first output.
pub(crate) trait Exchange {
    /// What comes out.
    type Output;

    /// Takes an event; may queue further requests. An error ends the exchange, not the session,
    /// unless the answer makes no sense.
    fn event(&mut self, session: &mut Session, event: Event) -> Result<Option<Self::Output>>;

    /// The request whose fate decides when the connection is lost.
    fn ticket(&self) -> Option<Ticket>;

    /// What that request can do, for judging its loss.
    fn call(&self) -> Call;

    /// How far the deciding request got; ask before the session is lost.
    fn progress(&self, session: &Session) -> Progress {
        self.ticket().map_or(Progress::Unsent, |ticket| {
            // A request that is not outstanding any more has been answered.
            session.progress(ticket).unwrap_or(Progress::Sent)
        })
    }

    /// The time is up: nothing more is queued. `false` if there is no sense in waiting a moment
    /// longer for what is under way.
    fn stop(&mut self) -> bool {
        true
    }

    /// An output that needs no event: asked whenever all that came has been handed in.
    fn rest(&mut self, _session: &Session) -> Option<Self::Output> {
        None
    }
}

/// How long a call outlasts its deadline where the server says how a statement was ended.
pub(crate) const GRACE: Duration = Duration::from_millis(200);

/// Gives up everything that is under way. A server that can is told to end it: `true` if that is
/// to be sent.
pub(crate) fn cut(session: &mut Session) -> bool {
    session.abandon_all() && end(session)
}

/// Tells a server that can to end what is under way; its answers are still awaited.
pub(crate) fn end(session: &mut Session) -> bool {
    if !session.capabilities().interrupts() || session.is_lost() {
        return false;
    }
    let interrupt = session.queue(&Request::Interrupt);
    interrupt.is_ok_and(|ticket| session.abandon(ticket) == Abandoned::Draining)
}

/// Waits until the replies of abandoned requests have been read.
pub(crate) struct Drain;

impl Exchange for Drain {
    type Output = ();

    fn event(&mut self, _: &mut Session, _: Event) -> Result<Option<()>> {
        Ok(None)
    }

    fn rest(&mut self, session: &Session) -> Option<()> {
        session.is_idle().then_some(())
    }

    fn ticket(&self) -> Option<Ticket> {
        None
    }

    fn call(&self) -> Call {
        Call {
            effect: Effect::Write,
            in_transaction: false,
            one_query: false,
        }
    }
}

/// Why a driver stopped before the output.
pub(crate) enum Stop {
    /// The deadline has passed.
    Late(Duration),
    /// The deadline has passed, and the server has ended the statement.
    Ended(Duration, Error),
    /// The caller does not want to wait any more.
    Interrupted,
    /// The connection is gone or useless.
    Broken(Error),
    /// The exchange itself ended with this.
    Answered(Error),
}

impl Stop {
    /// What an exchange made of an event.
    pub(crate) fn of(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Protocol | ErrorKind::Lost => Self::Broken(error),
            _ => Self::Answered(error),
        }
    }

    /// What became of a statement that had to be ended: its own answer, if that was faster.
    pub(crate) fn ended<T>(after: Duration, answer: Result<T, Self>) -> Result<T, Self> {
        match answer {
            Err(Self::Answered(error))
                if error.failure_kind() == Some(FailureKind::Interrupted) =>
            {
                Err(Self::Ended(after, error))
            }
            Err(Self::Late(_)) => Err(Self::Late(after)),
            answer => answer,
        }
    }

    /// Leaves the session as it must be and tells the caller what it means. A reply that nobody
    /// waits for is left to be drained; a broken connection ends the session.
    pub(crate) fn settle(
        self,
        exchange: &impl Exchange,
        session: &mut Session,
        address: &str,
    ) -> Error {
        match self {
            Self::Answered(error) => return error,
            Self::Ended(after, error) => return error.ended_after(after),
            _ => {}
        }
        let progress = exchange.progress(session);
        cut(session);
        self.plain(session, address)
            .judged(progress, exchange.call())
    }

    /// The same where no request of the caller is under way.
    pub(crate) fn plain(self, session: &mut Session, address: &str) -> Error {
        match self {
            Self::Answered(error) | Self::Ended(_, error) => error,
            Self::Broken(error) => {
                session.lose();
                error
            }
            Self::Late(after) => Error::lost(address, Loss::Deadline(after)),
            Self::Interrupted => Error::lost(address, Loss::Interrupted),
        }
    }
}

/// An answer of the right shape in the wrong place.
pub(crate) fn unexpected(address: &str) -> Error {
    let text = format!("{address} sent an answer that does not fit the request");
    Error::new(ErrorKind::Protocol, text).with_address(address)
}
