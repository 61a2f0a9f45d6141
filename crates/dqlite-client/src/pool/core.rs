//! What the pools of both drivers share: the books behind a lock, and tokens for what a caller
//! holds. Each token, dropped, gives back what it stands for, so that no way out of a call leaks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::Options;
use super::state::{Ask, Chores, Grant, Slot, State, Status, Ticket};
use crate::address::Address;
use crate::clock;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::Trust;
use dqlite_proto::{Outcome, Retry};

/// Time for asking a connection whether it serves, and for cleaning one.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
pub(super) const RESET_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a pool looks after itself.
pub(super) const TEND_EVERY: Duration = Duration::from_millis(500);

/// What a pool asks of a connection.
pub(crate) trait Lendable: Send + 'static {
    /// Where it leads.
    fn server(&self) -> &Address;

    /// Whether the next caller would find it as the first one did.
    fn is_fresh(&self) -> bool;
}

/// A pool without its driver.
#[derive(Debug)]
pub(super) struct Core<C> {
    pub(super) config: Config,
    pub(super) options: Options,
    state: Mutex<State<C>>,
}

/// What a caller may do, when it is its turn.
pub(super) enum Turn<C: Lendable> {
    Lend(Loan<C>),
    Check(Loan<C>),
    Open(Leave<C>),
}

/// What came of asking.
pub(super) enum Claim<C: Lendable> {
    Turn(Turn<C>),
    Wait(Place<C>),
}

impl<C: Lendable> Core<C> {
    pub(super) fn new(config: &Config, options: Options) -> Result<Arc<Self>> {
        let options = options.check()?;
        Ok(Arc::new(Self {
            config: config.clone(),
            state: Mutex::new(State::new(options.rules)),
            options,
        }))
    }

    /// Asks for a connection.
    pub(super) fn claim(self: &Arc<Self>, waker: &Waker) -> Result<Claim<C>> {
        let (ask, chores) = self
            .state()
            .ask(waker, clock::now(), |slot| self.judge(slot));
        drop(chores.run());
        match ask {
            Ask::Granted(grant) => Ok(Claim::Turn(self.turn(grant))),
            Ask::Wait(ticket) => Ok(Claim::Wait(Place {
                core: Arc::clone(self),
                ticket,
            })),
            Ask::Full => Err(self.refusal(|status| {
                format!("{} callers wait for a connection already", status.waiting)
            })),
            Ask::Closed => Err(Self::closed()),
        }
    }

    /// Nobody got a connection in time.
    pub(super) fn late(&self, waited: Duration) -> Error {
        self.refusal(|status| {
            format!(
                "no connection came free within {:.1} s: {} in use, {} being opened, {} in line",
                waited.as_secs_f64(),
                status.lent,
                status.opening,
                status.waiting
            )
        })
    }

    pub(super) fn status(&self) -> Status {
        self.state().status()
    }

    /// The configuration for a connection that must be there by then.
    pub(super) fn config_until(&self, deadline: Instant) -> Config {
        let left = deadline.saturating_duration_since(clock::now());
        let limit = left.min(self.config.connect_timeout);
        self.config.clone().with_connect_timeout(limit)
    }

    /// A connection has not answered: others to its server that are idle leave with it.
    pub(super) fn retire(&self, server: &Address) {
        self.config.forget(server);
        let chores = self
            .state()
            .retire(|slot| slot.connection.server() == server);
        drop(chores.run());
    }

    /// A connection was closed by its server: others that were, too, leave with it.
    pub(super) fn sweep(&self) {
        let chores = self.state().retire(|slot| !slot.connection.is_fresh());
        drop(chores.run());
    }

    /// Does what time demands; leaves to open what is missing.
    pub(super) fn tend(self: &Arc<Self>) -> Vec<Leave<C>> {
        let (missing, chores) = self.state().tend(clock::now(), |slot| self.judge(slot));
        drop(chores.run());
        (0..missing).map(|_| Leave::new(Arc::clone(self))).collect()
    }

    pub(super) fn shut(&self) {
        let chores = self.state().shut();
        drop(chores.run());
    }

    pub(super) fn drained(&self, waker: &Waker) -> Poll<()> {
        self.state().drained(waker)
    }

    /// Somebody keeps a connection of a closed pool.
    pub(super) fn undrained(&self) -> Error {
        self.refusal(|status| {
            format!(
                "the pool is closed, but {} connections have not come back",
                status.lent + status.opening
            )
        })
    }

    fn closed() -> Error {
        Error::usage("the pool is closed")
    }

    fn refusal(&self, text: impl Fn(Status) -> String) -> Error {
        Error::new(ErrorKind::Pool, text(self.status())).with_verdict(Outcome::NotSent, Retry::Here)
    }

    fn turn(self: &Arc<Self>, grant: Grant<C>) -> Turn<C> {
        let core = Arc::clone(self);
        match grant {
            Grant::Lend(slot) => Turn::Lend(Loan {
                core,
                slot: Some(slot),
            }),
            Grant::Check(slot) => Turn::Check(Loan {
                core,
                slot: Some(slot),
            }),
            Grant::Open => Turn::Open(Leave::new(core)),
        }
    }

    fn judge(&self, slot: &Slot<C>) -> Trust {
        self.config
            .memory
            .trust(slot.connection.server(), slot.epoch)
    }

    fn slot(&self, connection: C) -> Slot<C> {
        let now = clock::now();
        let epoch = self.config.memory.epoch_of(connection.server());
        let lifetime = self.options.rules.lifetime;
        let jittered = lifetime.mul_f64(1.0 - 0.1 * fastrand::f64());
        // Centuries from now is as good as never.
        let expires = now.checked_add(jittered);
        let expires = expires.unwrap_or_else(|| now + Duration::from_hours(1 << 20));
        Slot::new(connection, epoch, now, expires)
    }

    fn run(&self, act: impl FnOnce(&mut State<C>, Instant) -> Chores<C>) {
        let chores = act(&mut self.state(), clock::now());
        // Connections are closed without the lock.
        drop(chores.run());
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in line. Dropped, it is left.
pub(super) struct Place<C: Lendable> {
    core: Arc<Core<C>>,
    ticket: Ticket,
}

impl<C: Lendable> Place<C> {
    /// Whether it is the caller's turn.
    pub(super) fn poll(&self, waker: &Waker) -> Poll<Result<Turn<C>>> {
        let granted = self.core.state().poll(self.ticket, waker);
        granted.map(|grant| {
            let grant = grant.ok_or_else(Core::<C>::closed)?;
            Ok(self.core.turn(grant))
        })
    }
}

impl<C: Lendable> Drop for Place<C> {
    fn drop(&mut self) {
        let core = &self.core;
        core.run(|state, now| state.cancel(self.ticket, now, |slot| core.judge(slot)));
    }
}

/// Leave to open a connection. Dropped, somebody else may.
pub(super) struct Leave<C: Lendable> {
    /// None once it is used.
    core: Option<Arc<Core<C>>>,
}

impl<C: Lendable> Leave<C> {
    const fn new(core: Arc<Core<C>>) -> Self {
        Self { core: Some(core) }
    }

    /// The connection is there, and lent to the caller.
    pub(super) fn opened(mut self, connection: C) -> Loan<C> {
        let core = self.core.take().expect("leave is used once");
        let slot = core.slot(connection);
        core.state().opened();
        Loan {
            core,
            slot: Some(slot),
        }
    }

    /// The connection is there, for whoever comes.
    pub(super) fn stock(mut self, connection: C) {
        if let Some(core) = self.core.take() {
            let slot = core.slot(connection);
            core.run(|state, now| state.stock(slot, now, |slot| core.judge(slot)));
        }
    }
}

impl<C: Lendable> Drop for Leave<C> {
    fn drop(&mut self) {
        if let Some(core) = self.core.take() {
            core.run(|state, now| state.not_opened(now, |slot| core.judge(slot)));
        }
    }
}

/// A connection that is lent. Dropped, it is closed and its place is free.
pub(super) struct Loan<C: Lendable> {
    core: Arc<Core<C>>,
    /// None once it has ended.
    slot: Option<Slot<C>>,
}

impl<C: Lendable> Loan<C> {
    pub(super) fn connection(&self) -> &C {
        &self.slot.as_ref().expect(HELD).connection
    }

    pub(super) fn connection_mut(&mut self) -> &mut C {
        &mut self.slot.as_mut().expect(HELD).connection
    }

    pub(super) const fn core(&self) -> &Arc<Core<C>> {
        &self.core
    }

    /// The server has answered: it leads, unless somebody says otherwise from now on.
    pub(super) fn renew(&mut self) {
        let memory = &self.core.config.memory;
        let server = self.connection().server();
        if memory.leader().is_none() {
            memory.led_by(server);
        }
        let epoch = memory.epoch_of(server);
        self.slot.as_mut().expect(HELD).epoch = epoch;
    }

    /// It is fresh, and goes back.
    pub(super) fn give_back(mut self) {
        if let Some(slot) = self.slot.take() {
            let core = &self.core;
            core.run(|state, now| state.give_back(slot, now, |slot| core.judge(slot)));
        }
    }

    /// It is useless: leave to open another one in its place.
    pub(super) fn replace(mut self) -> Leave<C> {
        drop(self.slot.take());
        self.core.state().reopen();
        Leave::new(Arc::clone(&self.core))
    }
}

/// Only the end of a loan takes its connection, and consumes the loan.
const HELD: &str = "a loan holds its connection until it ends";

impl<C: Lendable> Drop for Loan<C> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            drop(slot);
            let core = &self.core;
            core.run(|state, now| state.lost(now, |slot| core.judge(slot)));
        }
    }
}
