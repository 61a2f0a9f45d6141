//! Which statements a session keeps prepared.
//!
//! A text that succeeds a second time is prepared behind its answer, so nobody waits for that.

use dqlite_client::fd::{Advice, Cache};
use dqlite_proto::{Event, Request, Response, Session, Ticket};

use crate::statement::Statement;

/// The statements of one session.
#[derive(Debug)]
pub(crate) struct Prepared {
    cache: Cache,
    /// The PREPARE that is under way, and its text.
    due: Option<(Ticket, Box<str>)>,
}

impl Prepared {
    /// Keeps so many at most.
    pub(crate) fn new(max: usize) -> Self {
        let cache = Cache::new(max);
        Self { cache, due: None }
    }

    /// The id by which to run a statement, if it has one.
    pub(crate) fn id(&mut self, statement: &Statement) -> Option<u32> {
        self.cache.id(statement.sql())
    }

    /// Whether a PREPARE is under way.
    pub(crate) const fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// A statement has succeeded: the second time it is prepared. Whether that was queued.
    pub(crate) fn succeeded(&mut self, statement: &Statement, session: &mut Session) -> bool {
        if self.due.is_some() || !statement.is_repeatable() {
            return false;
        }
        let sql = statement.sql();
        if self.cache.advise(sql) != Advice::Prepare {
            return false;
        }
        // A full window is no reason to fail what has succeeded.
        let queued = session.queue(&Request::Prepare { sql });
        self.due = queued.ok().map(|ticket| (ticket, sql.into()));
        self.due.is_some()
    }

    /// Takes the answer to its PREPARE; gives back any other event.
    pub(crate) fn event(
        &mut self,
        ticket: Ticket,
        event: Event,
        session: &mut Session,
    ) -> Option<Event> {
        let Some((_, sql)) = self.due.take_if(|(due, _)| *due == ticket) else {
            return Some(event);
        };
        match event {
            Event::Reply {
                response: Response::Stmt { id, .. },
                ..
            } => self.keep(&sql, id, session),
            // It is sent as text, and prepared again if that succeeds twice.
            _ => self.cache.forget(&sql),
        }
        None
    }

    fn keep(&mut self, sql: &str, id: u32, session: &mut Session) {
        if let Some(statement) = self.cache.keep(sql, id)
            && let Ok(ticket) = session.queue(&Request::Finalize { statement })
        {
            session.abandon(ticket);
        }
    }
}
