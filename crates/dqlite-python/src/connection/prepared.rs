//! Which statements a session keeps prepared.
//!
//! A text that succeeds a second time is prepared behind its answer, so nobody waits for that, and
//! runs by its id from then on; the one that was not used for the longest time makes room. Ids
//! belong to one session and end with it.

use std::collections::HashMap;

use dqlite_proto::{Event, Request, Response, Session, Ticket};

use crate::statement::Statement;

/// Texts that are remembered for each that is kept prepared.
const TEXTS_PER_ID: usize = 4;

/// The statements of one session.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    max: usize,
    texts: HashMap<Box<str>, Entry>,
    ids: usize,
    /// The PREPARE that is under way, and its text.
    due: Option<(Ticket, Box<str>)>,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    id: Option<u32>,
    used: u64,
}

impl Prepared {
    /// Keeps so many at most.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            ..Self::default()
        }
    }

    /// The id by which to run a statement, if it has one.
    pub(crate) fn id(&mut self, statement: &Statement) -> Option<u32> {
        if self.ids == 0 {
            return None;
        }
        self.clock += 1;
        let entry = self.texts.get_mut(statement.sql())?;
        entry.used = self.clock;
        entry.id
    }

    /// Whether a PREPARE is under way.
    pub(crate) const fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// A statement has succeeded: the second time it is prepared. Whether that was queued.
    pub(crate) fn succeeded(&mut self, statement: &Statement, session: &mut Session) -> bool {
        if self.max == 0 || self.due.is_some() || !statement.is_repeatable() {
            return false;
        }
        let sql = statement.sql();
        match self.texts.get(sql) {
            None => {
                if self.texts.len() >= self.max * TEXTS_PER_ID {
                    self.drop_oldest(false);
                }
                self.clock += 1;
                let used = self.clock;
                self.texts.insert(sql.into(), Entry { id: None, used });
                false
            }
            Some(Entry { id: Some(_), .. }) => false,
            Some(Entry { id: None, .. }) => {
                // A full window is no reason to fail what has succeeded.
                let queued = session.queue(&Request::Prepare { sql });
                self.due = queued.ok().map(|ticket| (ticket, sql.into()));
                self.due.is_some()
            }
        }
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
            } => self.keep(sql, id, session),
            // It is sent as text, and prepared again if that succeeds twice.
            _ => drop(self.texts.remove(&sql)),
        }
        None
    }

    fn keep(&mut self, sql: Box<str>, id: u32, session: &mut Session) {
        let evicted = (self.ids >= self.max)
            .then(|| self.drop_oldest(true))
            .flatten();
        self.clock += 1;
        let entry = Entry {
            id: Some(id),
            used: self.clock,
        };
        self.texts.insert(sql, entry);
        self.ids += 1;
        if let Some(statement) = evicted
            && let Ok(ticket) = session.queue(&Request::Finalize { statement })
        {
            session.abandon(ticket);
        }
    }

    /// Drops the entry that was not used for the longest time among those with an id, or without.
    fn drop_oldest(&mut self, prepared: bool) -> Option<u32> {
        let candidates = self.texts.iter();
        let oldest = candidates
            .filter(|(_, entry)| entry.id.is_some() == prepared)
            .min_by_key(|(_, entry)| entry.used)
            .map(|(sql, _)| sql.clone())?;
        let id = self.texts.remove(&oldest)?.id;
        self.ids -= usize::from(id.is_some());
        id
    }
}
