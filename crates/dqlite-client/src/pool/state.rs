//! Who gets which connection, and when one is opened or given up: PURE.
//!
//! ```text
//!            ask                       give_back
//!   idle ──────────► lent or checked ───────────► idle, or to who waits longest
//!     │               ▲        │ lost
//!     │ too old       │        ▼
//!     ▼               │     a place ──► to who waits longest, else free
//!   gone    opening ──┘
//! ```
//!
//! Whoever asks while others wait stands in line behind them. A place is a connection that is
//! idle, lent or being opened; there are never more of them than allowed.

use std::collections::VecDeque;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::memory::Trust;

/// What the pool is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Connections kept, even if nobody needs them.
    pub(crate) min: usize,
    /// Connections at once.
    pub(crate) max: usize,
    /// Callers in line.
    pub(crate) waiting_max: usize,
    /// Connections above `min` are closed when idle for so long.
    pub(crate) idle_timeout: Duration,
    /// Age at which a connection is replaced; each lives up to a tenth shorter.
    pub(crate) lifetime: Duration,
    /// A connection that was idle for longer is asked before it is lent.
    pub(crate) check_after: Duration,
}

/// A connection in the pool's books.
#[derive(Debug)]
pub(crate) struct Slot<C> {
    pub(crate) connection: C,
    /// The epoch in which its server led for certain.
    pub(crate) epoch: Option<u64>,
    /// When it is too old.
    pub(crate) expires: Instant,
    /// When it came back last.
    idle_since: Instant,
}

impl<C> Slot<C> {
    pub(crate) const fn new(
        connection: C,
        epoch: Option<u64>,
        now: Instant,
        expires: Instant,
    ) -> Self {
        Self {
            connection,
            epoch,
            expires,
            idle_since: now,
        }
    }
}

/// What a caller got.
#[derive(Debug)]
pub(crate) enum Grant<C> {
    /// A connection to use.
    Lend(Slot<C>),
    /// A connection to use if it answers.
    Check(Slot<C>),
    /// Leave to open one.
    Open,
}

/// What came of asking.
#[derive(Debug)]
pub(crate) enum Ask<C> {
    Granted(Grant<C>),
    /// A place in line; [`State::poll`] tells when it is one's turn.
    Wait(Ticket),
    /// The line is full.
    Full,
    Closed,
}

/// Names a place in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// What is left to do outside: connections to close, callers to wake.
#[derive(Debug)]
#[must_use]
pub(crate) struct Chores<C> {
    pub(crate) close: Vec<C>,
    wake: Vec<Waker>,
}

impl<C> Chores<C> {
    const fn none() -> Self {
        Self {
            close: Vec::new(),
            wake: Vec::new(),
        }
    }

    /// Wakes who must be woken and gives what must be closed.
    pub(crate) fn run(self) -> Vec<C> {
        self.wake.into_iter().for_each(Waker::wake);
        self.close
    }
}

/// Numbers of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Connections, those being opened included.
    pub size: usize,
    /// Connections nobody uses.
    pub idle: usize,
    /// Connections in use.
    pub lent: usize,
    /// Connections being opened.
    pub opening: usize,
    /// Callers in line.
    pub waiting: usize,
    /// Connections opened so far.
    pub opened_total: u64,
    /// Connections closed so far, for whatever reason.
    pub closed_total: u64,
    /// Of those, how many because their server does not lead any more.
    pub retired_total: u64,
    /// Connections lent so far.
    pub lent_total: u64,
    /// Whether it has been closed.
    pub is_closed: bool,
}

/// The books of a pool; `C` is a connection.
#[derive(Debug)]
pub(crate) struct State<C> {
    rules: Rules,
    /// The one that came back last is lent first.
    idle: Vec<Slot<C>>,
    lent: usize,
    opening: usize,
    line: VecDeque<(Ticket, Waker)>,
    granted: Vec<(Ticket, Grant<C>)>,
    draining: Vec<Waker>,
    next_ticket: u64,
    totals: Status,
}

/// Judges a connection; the pool asks the client's memory.
pub(crate) trait Judge<C>: Fn(&Slot<C>) -> Trust {}
impl<C, F: Fn(&Slot<C>) -> Trust> Judge<C> for F {}

impl<C> State<C> {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            idle: Vec::new(),
            lent: 0,
            opening: 0,
            line: VecDeque::new(),
            granted: Vec::new(),
            draining: Vec::new(),
            next_ticket: 0,
            totals: Status::default(),
        }
    }

    /// Asks for a connection, standing in line if need be; the waker is woken when it is one's
    /// turn.
    pub(crate) fn ask(
        &mut self,
        waker: &Waker,
        now: Instant,
        judge: impl Judge<C>,
    ) -> (Ask<C>, Chores<C>) {
        let mut chores = Chores::none();
        if self.totals.is_closed {
            return (Ask::Closed, chores);
        }
        let free = self.line.is_empty();
        if free && let Some(grant) = self.available(now, &judge, &mut chores) {
            return (Ask::Granted(grant), chores);
        }
        if self.line.len() >= self.rules.waiting_max {
            return (Ask::Full, chores);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.line.push_back((ticket, waker.clone()));
        (Ask::Wait(ticket), chores)
    }

    /// Whether it is the turn of that ticket; `None` when the pool has been closed. A ticket is
    /// good for one answer.
    pub(crate) fn poll(&mut self, ticket: Ticket, waker: &Waker) -> Poll<Option<Grant<C>>> {
        if let Some(at) = self.granted.iter().position(|(of, _)| *of == ticket) {
            return Poll::Ready(Some(self.granted.swap_remove(at).1));
        }
        match self.line.iter_mut().find(|(of, _)| *of == ticket) {
            Some((_, known)) => {
                known.clone_from(waker);
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }

    /// The caller waits no more; what it was granted goes to the next.
    pub(crate) fn cancel(
        &mut self,
        ticket: Ticket,
        now: Instant,
        judge: impl Judge<C>,
    ) -> Chores<C> {
        self.line.retain(|(of, _)| *of != ticket);
        let granted = self.granted.iter().position(|(of, _)| *of == ticket);
        match granted.map(|at| self.granted.swap_remove(at).1) {
            None => Chores::none(),
            Some(Grant::Open) => self.not_opened(now, judge),
            Some(Grant::Lend(slot) | Grant::Check(slot)) => self.give_back(slot, now, judge),
        }
    }

    /// A connection comes back, fit to be lent again.
    pub(crate) fn give_back(
        &mut self,
        mut slot: Slot<C>,
        now: Instant,
        judge: impl Judge<C>,
    ) -> Chores<C> {
        let mut chores = Chores::none();
        self.lent -= 1;
        slot.idle_since = now;
        if self.totals.is_closed || slot.expires <= now {
            self.close(slot, &mut chores);
        } else {
            self.idle.push(slot);
        }
        self.serve(now, &judge, &mut chores);
        chores
    }

    /// A lent connection is gone.
    pub(crate) fn lost(&mut self, now: Instant, judge: impl Judge<C>) -> Chores<C> {
        self.lent -= 1;
        self.totals.closed_total += 1;
        let mut chores = Chores::none();
        self.serve(now, &judge, &mut chores);
        chores
    }

    /// A lent connection is gone, and the caller opens another one in its place.
    pub(crate) const fn reopen(&mut self) {
        self.lent -= 1;
        self.opening += 1;
        self.totals.closed_total += 1;
        self.totals.lent_total -= 1;
    }

    /// A connection has been opened by a caller, who keeps it.
    pub(crate) const fn opened(&mut self) {
        self.opening -= 1;
        self.lent += 1;
        self.totals.opened_total += 1;
        self.totals.lent_total += 1;
    }

    /// A connection has been opened for nobody in particular.
    pub(crate) fn stock(&mut self, slot: Slot<C>, now: Instant, judge: impl Judge<C>) -> Chores<C> {
        self.opening -= 1;
        self.lent += 1;
        self.totals.opened_total += 1;
        self.give_back(slot, now, judge)
    }

    /// Leave to open a connection was not used, or in vain.
    pub(crate) fn not_opened(&mut self, now: Instant, judge: impl Judge<C>) -> Chores<C> {
        self.opening -= 1;
        let mut chores = Chores::none();
        self.serve(now, &judge, &mut chores);
        chores
    }

    /// Gives up idle connections that are `useless`.
    pub(crate) fn retire(&mut self, useless: impl Fn(&Slot<C>) -> bool) -> Chores<C> {
        let mut chores = Chores::none();
        let (gone, kept) = std::mem::take(&mut self.idle)
            .into_iter()
            .partition(useless);
        self.idle = kept;
        for slot in Vec::into_iter(gone) {
            self.totals.retired_total += 1;
            self.close(slot, &mut chores);
        }
        chores
    }

    /// Does what time demands: gives up what is too old, idle or useless, and says how many
    /// connections to open, each with leave to do so.
    pub(crate) fn tend(&mut self, now: Instant, judge: impl Judge<C>) -> (usize, Chores<C>) {
        let mut chores = self.retire(|slot| judge(slot) == Trust::Former);
        let mut spare = self.size().saturating_sub(self.rules.min);
        // The first have been idle longest.
        for slot in std::mem::take(&mut self.idle) {
            let rested = now.saturating_duration_since(slot.idle_since);
            let surplus = spare > 0 && rested >= self.rules.idle_timeout;
            if slot.expires <= now || surplus {
                spare = spare.saturating_sub(1);
                self.close(slot, &mut chores);
            } else {
                self.idle.push(slot);
            }
        }
        self.serve(now, &judge, &mut chores);
        let missing = if self.totals.is_closed {
            0
        } else {
            self.rules.min.saturating_sub(self.size())
        };
        self.opening += missing;
        (missing, chores)
    }

    /// Lends nothing more, lets those in line go and gives up what is idle.
    pub(crate) fn shut(&mut self) -> Chores<C> {
        self.totals.is_closed = true;
        let mut chores = Chores::none();
        for slot in std::mem::take(&mut self.idle) {
            self.close(slot, &mut chores);
        }
        let line = std::mem::take(&mut self.line);
        chores.wake.extend(line.into_iter().map(|(_, waker)| waker));
        self.wake_drained(&mut chores);
        chores
    }

    /// Whether a closed pool has got everything back.
    pub(crate) fn drained(&mut self, waker: &Waker) -> Poll<()> {
        if self.is_drained() {
            return Poll::Ready(());
        }
        self.draining.push(waker.clone());
        Poll::Pending
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            size: self.size(),
            idle: self.idle.len(),
            lent: self.lent,
            opening: self.opening,
            waiting: self.line.len(),
            ..self.totals
        }
    }
}

impl<C> State<C> {
    const fn size(&self) -> usize {
        self.idle.len() + self.lent + self.opening
    }

    /// Takes the best place there is.
    fn available(
        &mut self,
        now: Instant,
        judge: &impl Judge<C>,
        chores: &mut Chores<C>,
    ) -> Option<Grant<C>> {
        while let Some(slot) = self.idle.pop() {
            let trust = judge(&slot);
            if trust == Trust::Former || slot.expires <= now {
                self.totals.retired_total += u64::from(trust == Trust::Former);
                self.close(slot, chores);
                continue;
            }
            self.lent += 1;
            self.totals.lent_total += 1;
            let rested = now.saturating_duration_since(slot.idle_since);
            if trust == Trust::Doubtful || rested >= self.rules.check_after {
                return Some(Grant::Check(slot));
            }
            return Some(Grant::Lend(slot));
        }
        (self.size() < self.rules.max).then(|| {
            self.opening += 1;
            Grant::Open
        })
    }

    /// Gives what is free to those in line.
    fn serve(&mut self, now: Instant, judge: &impl Judge<C>, chores: &mut Chores<C>) {
        while !self.line.is_empty()
            && let Some(grant) = self.available(now, judge, chores)
            && let Some((ticket, waker)) = self.line.pop_front()
        {
            self.granted.push((ticket, grant));
            chores.wake.push(waker);
        }
        self.wake_drained(chores);
    }

    fn close(&mut self, slot: Slot<C>, chores: &mut Chores<C>) {
        self.totals.closed_total += 1;
        chores.close.push(slot.connection);
    }

    const fn is_drained(&self) -> bool {
        self.totals.is_closed && self.size() == 0
    }

    fn wake_drained(&mut self, chores: &mut Chores<C>) {
        if self.is_drained() {
            chores.wake.append(&mut self.draining);
        }
    }
}

#[cfg(test)]
mod tests;
