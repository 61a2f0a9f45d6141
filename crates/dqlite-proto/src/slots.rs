//! Replies in the order of their requests, although two parties give them.

use std::collections::VecDeque;

use bytes::Bytes;

/// What a connection is owed: replies of the engine, and replies given in its place.
///
/// ```text
/// requests   SELECT   OPEN ":memory:"   LEADER
/// slots      engine   local (refused)   engine
/// ```
///
/// A local reply leaves when all replies before it have been passed on, and no sooner.
#[derive(Debug)]
pub struct Slots<T> {
    queue: VecDeque<Slot<T>>,
    engine: usize,
}

#[derive(Debug)]
enum Slot<T> {
    Engine(T),
    Local(Bytes),
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            engine: 0,
        }
    }
}

impl<T> Slots<T> {
    /// A request was passed on; the engine will answer it. `asked` is what must be known then.
    pub fn expect(&mut self, asked: T) {
        self.queue.push_back(Slot::Engine(asked));
        self.engine = self.engine.saturating_add(1);
    }

    /// A request was answered here, with a whole message.
    pub fn answer(&mut self, reply: Bytes) {
        self.queue.push_back(Slot::Local(reply));
    }

    /// The next local reply if it is due. Ask until `None`, after [`answer`](Self::answer) and
    /// after [`settle`](Self::settle).
    pub fn due(&mut self) -> Option<Bytes> {
        match self.queue.pop_front()? {
            Slot::Local(reply) => Some(reply),
            engine @ Slot::Engine(_) => {
                self.queue.push_front(engine);
                None
            }
        }
    }

    /// What the next reply of the engine answers; `None` if it owes none.
    pub fn asked(&mut self) -> Option<&mut T> {
        self.queue.iter_mut().find_map(|slot| match slot {
            Slot::Engine(asked) => Some(asked),
            Slot::Local(_) => None,
        })
    }

    /// The engine's next reply is complete.
    pub fn settle(&mut self) -> Option<T> {
        match self.queue.pop_front()? {
            Slot::Engine(asked) => {
                self.engine = self.engine.saturating_sub(1);
                Some(asked)
            }
            // Nothing of the engine can come before a local reply that is due has been taken.
            local @ Slot::Local(_) => {
                self.queue.push_front(local);
                None
            }
        }
    }

    /// Takes the last expectation back if nothing was booked after it.
    pub fn revoke(&mut self) -> bool {
        let last = matches!(self.queue.back(), Some(Slot::Engine(_)));
        if last {
            self.queue.pop_back();
            self.engine = self.engine.saturating_sub(1);
        }
        last
    }

    /// How many replies are owed, by anybody.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many replies the engine owes.
    pub const fn owed_by_engine(&self) -> usize {
        self.engine
    }
}
