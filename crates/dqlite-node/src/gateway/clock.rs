//! The limits of time of one connection.
//!
//! A connection that runs at full speed must not pay for them: while anything can become overdue
//! one timer wakes the connection now and then, and only then is anything compared.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::talk::Limits;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A limit is kept to an eighth of itself.
const PARTS: u32 = 8;
const LOOK_EVERY_MIN: Duration = Duration::from_millis(5);
/// While a client is not read its end can only be asked for.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// So long the engine may take to end what nobody waits for.
const DRAIN: Duration = Duration::from_mins(1);

/// What is over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The running statement.
    Statement(Duration),
    /// The next request.
    Idle,
    /// The same, if a transaction is open.
    IdleInTransaction,
    /// The rest of a request.
    Request,
    /// The reading of a reply.
    Reply,
    /// Nothing; but it should be asked whether the client is still there.
    Unread,
    /// The end of what nobody waits for.
    Drain,
}

/// What there is to wait for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Situation {
    /// Replies that are owed.
    pub(super) owed: usize,
    /// Which statement runs.
    pub(super) running: Option<u64>,
    /// No request has begun to arrive.
    pub(super) between: bool,
    /// There are bytes for the client.
    pub(super) untold: bool,
    /// The client is not being read.
    pub(super) unread: bool,
}

/// Times of one connection.
#[derive(Debug)]
pub(super) struct Clock {
    limits: Limits,
    timer: Pin<Box<Sleep>>,
    armed: bool,
    /// When the connection was woken last.
    pub(super) now: Instant,
    /// When the client said something.
    pub(super) heard: Instant,
    /// When it took something.
    pub(super) told: Instant,
    /// Which statement runs, and since when.
    running: Option<(u64, Instant)>,
    /// Since when nothing is owed.
    quiet: Instant,
    /// Since when there is no client.
    pub(super) draining_since: Option<Instant>,
    drain_noted: bool,
}

impl Clock {
    pub(super) fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            limits,
            timer: Box::pin(sleep_until(now)),
            armed: false,
            now,
            heard: now,
            told: now,
            running: None,
            quiet: now,
            draining_since: None,
            drain_noted: false,
        }
    }

    /// Ready when something is overdue, or (with `None`) when one should look again at once.
    pub(super) fn poll(
        &mut self,
        situation: &Situation,
        context: &mut Context<'_>,
    ) -> Poll<Option<Overdue>> {
        self.note(situation);
        if !self.armed {
            let Some(pause) = self.pause(situation) else {
                return Poll::Pending;
            };
            self.timer.as_mut().reset(self.now + pause);
            self.armed = true;
        }
        ready!(self.timer.as_mut().poll(context));
        self.armed = false;
        self.now = Instant::now();
        Poll::Ready(self.overdue(situation))
    }

    fn note(&mut self, situation: &Situation) {
        self.running = match (situation.running, self.running) {
            (Some(now), Some((before, since))) if now == before => Some((now, since)),
            (Some(now), _) => Some((now, self.now)),
            (None, _) => None,
        };
        if situation.owed > 0 || !situation.between {
            self.quiet = self.now;
        }
        if !situation.untold {
            self.told = self.now;
        }
    }

    /// When to look; `None` if there is nothing to look at.
    fn pause(&self, situation: &Situation) -> Option<Duration> {
        let limits = &self.limits;
        let part = |limit: Duration| (limit / PARTS).clamp(LOOK_EVERY_MIN, LOOK_EVERY);
        let silent = situation.owed == 0 && situation.between;
        let pauses = [
            (situation.running.is_some(), limits.statement.map(part)),
            (silent, limits.idle.map(part)),
            (silent, limits.idle_in_transaction.map(part)),
            (
                !situation.between || situation.untold,
                limits.progress.map(part),
            ),
            (situation.unread, Some(ASK_EVERY)),
            (
                self.draining_since.is_some() && !self.drain_noted,
                Some(LOOK_EVERY),
            ),
        ];
        let wanted = pauses.into_iter().filter(|(applies, _)| *applies);
        wanted.filter_map(|(_, pause)| pause).min()
    }

    fn overdue(&mut self, situation: &Situation) -> Option<Overdue> {
        let now = self.now;
        let over = |limit: Option<Duration>, since: Instant| {
            limit.filter(|limit| now.saturating_duration_since(since) >= *limit)
        };
        if let Some(since) = self.draining_since {
            let late = !self.drain_noted && over(Some(DRAIN), since).is_some();
            self.drain_noted |= late;
            return late.then_some(Overdue::Drain);
        }
        if let Some((_, since)) = self.running
            && let Some(limit) = over(self.limits.statement, since)
        {
            return Some(Overdue::Statement(limit));
        }
        if situation.untold && over(self.limits.progress, self.told).is_some() {
            return Some(Overdue::Reply);
        }
        if situation.unread {
            return Some(Overdue::Unread);
        }
        if !situation.between && over(self.limits.progress, self.heard).is_some() {
            return Some(Overdue::Request);
        }
        if situation.owed > 0 || !situation.between {
            return None;
        }
        if over(self.limits.idle, self.quiet).is_some() {
            return Some(Overdue::Idle);
        }
        over(self.limits.idle_in_transaction, self.quiet).map(|_| Overdue::IdleInTransaction)
    }
}
