//! Looking for the leader over many sockets at once.

use std::time::Instant;

use nix::poll::PollFd;

use super::probe::{Attempt, End};
use super::wait::{INTERRUPT_PERIOD, Interrupt, poll, readiness};
use super::{Link, Ready};
use crate::address::Address;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::flight::{Flight, Shared, Unpark, lock};
use crate::hello::Purpose;
use crate::search::{Answer, ProbeId, Step};

/// Finds the leader, connects, opens the database: the session is ready for statements.
///
/// Ends at `deadline` with an error of kind `NoLeader` that says what each address answered.
/// Nothing was executed, whatever the error.
pub fn dial(config: &Config, deadline: Instant, interrupt: Interrupt<'_>) -> Result<Link> {
    search(config, Some(&config.database), deadline, interrupt)
}

/// Finds the leader; opens a database if one is named.
pub(crate) fn search(
    config: &Config,
    database: Option<&str>,
    deadline: Instant,
    interrupt: Interrupt<'_>,
) -> Result<Link> {
    let started = Instant::now();
    let mut former: Option<Shared> = None;
    loop {
        let theirs = match search_once(config, database, deadline, former, &mut *interrupt)? {
            Found::Leader(link) => return Ok(*link),
            Found::Flight(theirs) => theirs,
        };
        let waker = Unpark::waker();
        while config.memory.landed(&theirs, &waker).is_pending() {
            if interrupt() {
                return Err(Error::interrupted());
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(lock(&theirs).error_since(started, now));
            }
            std::thread::park_timeout(INTERRUPT_PERIOD.min(deadline - now));
        }
        former = Some(theirs);
    }
}

/// How a search ended.
enum Found {
    Leader(Box<Link>),
    /// Somebody else is asking everybody.
    Flight(Shared),
}

fn search_once(
    config: &Config,
    database: Option<&str>,
    deadline: Instant,
    former: Option<Shared>,
    interrupt: Interrupt<'_>,
) -> Result<Found> {
    let leader = config.memory.leader();
    let search = config.search(leader.as_ref(), deadline);
    if let Some(former) = former {
        lock(&search).inherit(&lock(&former));
    }
    let mut flight: Option<Flight> = None;
    let mut attempts: Vec<(ProbeId, Attempt)> = Vec::new();
    loop {
        let now = Instant::now();
        let (step, is_wide) = {
            let mut search = lock(&search);
            (search.next(now), search.is_wide())
        };
        if is_wide && flight.is_none() {
            match config.take_off(&search, leader.as_ref()) {
                Ok(ours) => flight = Some(ours),
                Err(theirs) => return Ok(Found::Flight(theirs)),
            }
        }
        let until = match step {
            Step::GiveUp => return Err(lock(&search).error(now)),
            Step::Wait(until) => until,
            Step::Probe(probe) => {
                let purpose = Purpose {
                    ask_members: probe.ask_members,
                    ..config.purpose(database, now)
                };
                match Attempt::start(config, probe.address, purpose, probe.until) {
                    Ok(attempt) => attempts.push((probe.id, attempt)),
                    Err(end) => lock(&search).answered(probe.id, answer(end)?, now),
                }
                continue;
            }
        };
        let wakes = attempts.iter().map(|(_, attempt)| attempt.wake_at());
        let ready = wait_for(&attempts, wakes.chain(until).min(), &mut *interrupt)?;
        let now = Instant::now();
        let mut going = Vec::with_capacity(attempts.len());
        for ((id, mut attempt), ready) in attempts.into_iter().zip(ready) {
            match attempt.advance(ready, now) {
                Ok(()) => going.push((id, attempt)),
                Err(End::Ready(link)) => {
                    config.memory.led_by(link.address());
                    return Ok(Found::Leader(link));
                }
                Err(end) => lock(&search).answered(id, answer(end)?, now),
            }
        }
        attempts = going;
    }
}

/// Connects to one server, whether it leads or not.
pub(crate) fn connect(
    config: &Config,
    address: &Address,
    deadline: Instant,
    interrupt: Interrupt<'_>,
) -> Result<Link> {
    let purpose = Purpose {
        database: None,
        ask_members: false,
        learn_members: false,
        any: true,
    };
    let failed = |end| match end {
        End::Ready(link) => Ok(*link),
        End::Answer(Answer::Failed(_, text)) => Err(Error::connect(address.as_str(), text)),
        End::Answer(_) => Err(Error::connect(address.as_str(), "no usable answer")),
        End::Fatal(error) => Err(error),
    };
    let mut attempt = match Attempt::start(config, address.clone(), purpose, deadline) {
        Ok(attempt) => [(ProbeId::default(), attempt)],
        Err(end) => return failed(end),
    };
    loop {
        let wake = attempt[0].1.wake_at();
        let ready = wait_for(&attempt, Some(wake), &mut *interrupt)?;
        let ready = ready.first().copied().unwrap_or_default();
        if let Err(end) = attempt[0].1.advance(ready, Instant::now()) {
            return failed(end);
        }
    }
}

fn answer(end: End) -> Result<Answer> {
    match end {
        End::Answer(answer) => Ok(answer),
        End::Fatal(error) => Err(error),
        // Attempts end so in one place only, which returns the link.
        End::Ready(link) => Err(link.closed()),
    }
}

/// What each attempt is ready for, in order.
fn wait_for(
    attempts: &[(ProbeId, Attempt)],
    until: Option<Instant>,
    interrupt: Interrupt<'_>,
) -> Result<Vec<Ready>> {
    let interests = attempts.iter().map(|(_, attempt)| attempt.interest());
    let fds = interests
        .flatten()
        .map(|(fd, flags)| PollFd::new(fd, flags));
    let mut fds: Vec<PollFd<'_>> = fds.collect();
    poll(&mut fds, until, interrupt)?;
    Ok(fds.iter().map(readiness).collect())
}
