//! Whether to look again for what is awaited, instead of sleeping until it comes. PURE.
//!
//! A thread that sleeps takes some microseconds to wake, which a point query pays four times
//! without a gateway and would pay six times with one. So while one client talks alone, and what
//! it and the engine say follows soon, the gateway stays awake in between.

use std::time::Duration;

use tokio::time::Instant;

/// What takes longer is worth a sleep. A client in an interpreted language thinks for about 100.
const WINDOW: Duration = Duration::from_micros(200);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The client's next request.
    Request,
    /// The engine's reply.
    Reply,
}

/// How long the last waits of one connection took.
#[derive(Debug)]
pub(super) struct Eager {
    /// What is awaited, and behind how many replies.
    wait: Option<(Wait, u64)>,
    since: Instant,
    /// Whether the last request came within the window.
    request: bool,
    /// The same for the last reply.
    reply: bool,
}

impl Eager {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            wait: None,
            since: now,
            request: false,
            reply: false,
        }
    }

    /// Whether what is awaited now may come at once, as it did last time.
    pub(super) fn stays_awake(&mut self, wait: Option<(Wait, u64)>, now: Instant) -> bool {
        let lasted = now.saturating_duration_since(self.since);
        if wait != self.wait {
            match self.wait {
                Some((Wait::Request, _)) => self.request = lasted <= WINDOW,
                Some((Wait::Reply, _)) => self.reply = lasted <= WINDOW,
                None => {}
            }
            (self.wait, self.since) = (wait, now);
            return self.expects(wait);
        }
        lasted <= WINDOW && self.expects(wait)
    }

    fn expects(&self, wait: Option<(Wait, u64)>) -> bool {
        match wait {
            Some((Wait::Request, _)) => self.request,
            Some((Wait::Reply, _)) => self.reply,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(20);
    const LONG: Duration = Duration::from_millis(2);

    /// Answers to looks given as (time since the last one, what is awaited).
    fn look(looks: &[(Duration, Option<(Wait, u64)>)]) -> Vec<bool> {
        let mut now = Instant::now();
        let mut eager = Eager::new(now);
        let mut answers = Vec::new();
        for (passed, wait) in looks {
            now += *passed;
            answers.push(eager.stays_awake(*wait, now));
        }
        answers
    }

    #[test]
    fn what_came_at_once_is_awaited_awake() {
        let answers = look(&[
            (SHORT, Some((Wait::Request, 0))),
            (LONG, Some((Wait::Reply, 0))),
            (SHORT, Some((Wait::Request, 1))),
            (LONG, Some((Wait::Reply, 1))),
            (SHORT, Some((Wait::Reply, 1))),
            (LONG, Some((Wait::Reply, 1))),
        ]);
        assert_eq!(answers, [false, false, false, true, true, false]);
    }

    #[test]
    fn a_slow_reply_lets_the_next_one_be_slept_for() {
        let answers = look(&[
            (SHORT, Some((Wait::Reply, 0))),
            (SHORT, Some((Wait::Reply, 1))),
            (LONG, Some((Wait::Reply, 2))),
            (SHORT, Some((Wait::Reply, 2))),
            (SHORT, Some((Wait::Reply, 3))),
        ]);
        assert_eq!(answers, [false, true, false, false, true]);
    }

    #[test]
    fn nothing_awaited_is_no_reason_to_stay() {
        assert_eq!(look(&[(SHORT, None), (SHORT, None)]), [false, false]);
    }
}
