//! What a connection does, written once for both drivers.

mod many;
mod rerun;
mod transact;

use std::time::{Duration, Instant};

use dqlite_proto::outcome::Effect;
use dqlite_proto::{Outcome, Request, Retry};

use crate::breaker::Fingerprint;
use crate::cache::{Cache, PREPARED_MAX};
use crate::clock;
use crate::config::Config;
use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::params::Params;
use crate::statement::{Answer, Chunk, Plan, Running, Streaming};
use crate::transaction::State;

pub(crate) use rerun::Runs;
use transact::Ended;

/// A session with one database, the transaction on it, and what is kept prepared in it.
#[derive(Debug)]
pub(crate) struct Body<D> {
    pub(crate) config: Config,
    pub(crate) driver: D,
    state: State,
    /// Savepoints that are open on the server.
    savepoints: u32,
    /// Those that the caller still wants; the others are rolled back before the next use.
    wanted: u32,
    cache: Cache,
    opened: Instant,
    /// The time for the next call alone.
    within: Option<Duration>,
    /// No call outlasts this.
    limit: Option<Instant>,
    /// The last error of a statement since the transaction began.
    trouble: Option<(Outcome, Retry)>,
    /// The caller's own statement began a transaction at some time.
    has_begun: bool,
    /// Nobody but this call knows of the transaction: given up, it is rolled back.
    owned: bool,
}

impl<D: Driver> Body<D> {
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        let deadline = clock::after(config.connect_timeout);
        Ok(Self {
            driver: D::dial(config, deadline).await?,
            config: config.clone(),
            state: State::None,
            savepoints: 0,
            wanted: 0,
            cache: Cache::new(PREPARED_MAX),
            opened: clock::now(),
            within: None,
            limit: None,
            trouble: None,
            has_begun: false,
            owned: false,
        })
    }

    /// Begins a new session; a transaction of the old one is gone.
    pub(crate) async fn reconnect(&mut self) -> Result<()> {
        let deadline = clock::after(self.config.connect_timeout);
        let deadline = self.limit.map_or(deadline, |limit| limit.min(deadline));
        self.driver = D::dial(&self.config, deadline).await?;
        self.opened = clock::now();
        self.cache.clear();
        self.no_transaction();
        self.has_begun = false;
        Ok(())
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.driver.session().is_lost()
    }

    /// Sets the time for the next call.
    pub(crate) const fn within(&mut self, time: Duration) {
        self.within = Some(time);
    }

    fn deadline(&mut self) -> Instant {
        let time = self.within.take().unwrap_or(self.config.timeout);
        let deadline = clock::after(time);
        self.limit.map_or(deadline, |limit| limit.min(deadline))
    }

    /// Decides how a statement of the caller is sent.
    pub(crate) fn plan<'s>(&mut self, sql: &'s str, params: impl Params) -> Result<Plan<'s>> {
        let plan = Plan::new(sql, params, self.state, self.driver.session().class())?;
        plan.check_control(self.state)?;
        Ok(plan.with(&mut self.cache))
    }

    /// Runs a statement of the caller.
    pub(crate) async fn run(&mut self, plan: Plan<'_>) -> Result<Answer> {
        let deadline = self.deadline();
        self.has_begun |= plan.begins();
        self.tidy(deadline).await?;
        self.send(plan, deadline).await
    }

    /// Sends a statement; afterwards the transaction is what it has become by it.
    async fn send(&mut self, plan: Plan<'_>, deadline: Instant) -> Result<Answer> {
        let call = Sent::of(self, &plan);
        let result = match self.start(plan, deadline).await {
            Ok(mut running) => {
                let result = self.driver.run(&mut running, deadline).await;
                self.keep_of(&running);
                result
            }
            Err(error) => Err(error),
        };
        self.settle(call, result.as_ref().err());
        result
    }

    /// Runs the statements of a script, each on its own.
    pub(crate) async fn execute_batch(&mut self, script: &str) -> Result<()> {
        for (index, statement) in (0..).zip(dqlite_proto::sql::statements(script)) {
            let numbered = |error: Error| error.with_index(index);
            let Some(sql) = statement.sql() else {
                return Err(numbered(Error::usage("a statement that is not UTF-8")));
            };
            let plan = self.plan(sql, ()).map_err(numbered)?;
            self.run(plan).await.map_err(numbered)?;
        }
        Ok(())
    }

    /// Begins a statement whose rows are asked for one after the other.
    pub(crate) async fn stream(&mut self, plan: Plan<'_>) -> Result<Stream> {
        let deadline = self.deadline();
        self.has_begun |= plan.begins();
        self.tidy(deadline).await?;
        let plan = plan.into_owned();
        let call = Sent::of(self, &plan);
        match self.start(plan, deadline).await {
            Ok(running) => Ok(Stream {
                statement: running.stream(),
                call,
                is_waited_for: false,
                ended: false,
            }),
            Err(error) => {
                self.settle(call, Some(&error));
                Err(error)
            }
        }
    }

    /// The next rows of a stream; nothing is read unless they are asked for.
    pub(crate) async fn next_chunk(&mut self, stream: &mut Stream) -> Result<Chunk> {
        if stream.is_waited_for {
            stream.ended = true;
            let text = "a wait for the next row was given up, which ends the query";
            return Err(Error::usage(text));
        }
        let deadline = self.deadline();
        stream.is_waited_for = true;
        let result = self.driver.run(&mut stream.statement, deadline).await;
        stream.is_waited_for = false;
        let over = result.as_ref().map_or(true, |chunk| chunk.end.is_some());
        if over {
            stream.ended = true;
            self.keep_of(stream.statement.running());
            self.settle(stream.call, result.as_ref().err());
        }
        result
    }

    /// Nobody wants the rest of a stream. What it read has changed nothing.
    pub(crate) fn leave(&mut self, stream: &Stream) {
        if !stream.ended {
            self.driver.cut();
            if stream.call.effect == Effect::Read {
                self.state = stream.call.before.after_part_of_read();
            }
        }
    }

    /// Checks that a statement may be sent, and queues it.
    async fn start<'s>(&mut self, plan: Plan<'s>, deadline: Instant) -> Result<Running<'s>> {
        self.check_breaker(plan.fingerprint())?;
        if let Err(error) = self.driver.ready(deadline).await {
            return Err(plan.not_sent(error));
        }
        self.forget_lost_statements();
        let address = self.driver.address().to_string();
        plan.start(self.driver.session_mut(), &address)
    }

    fn check_breaker(&self, statement: Option<Fingerprint>) -> Result<()> {
        match statement {
            Some(statement) if self.config.memory.refuses(statement, clock::now()) => {
                Err(Error::poison())
            }
            _ => Ok(()),
        }
    }

    /// What a statement has left behind.
    fn settle(&mut self, call: Sent, error: Option<&Error>) {
        let Some(error) = error else {
            self.state = call.before.after_success(call.effect);
            if let Some(statement) = call.statement {
                self.config.memory.lived(statement);
            }
            return;
        };
        self.state = call.before.after(error, call.rolls_back);
        if call.before != State::None {
            self.trouble = Some(self.trouble_of(error, call));
        }
        let died = error.kind() == ErrorKind::Lost && error.outcome() != Outcome::NotSent;
        if let Some(statement) = call.statement.filter(|_| died) {
            self.config
                .memory
                .died(statement, self.opened, clock::now());
        }
        if self.is_lost() {
            self.config.forget(self.driver.address());
        }
    }

    /// An open transaction whose COMMIT was never sent ends with its session.
    fn trouble_of(&self, error: &Error, call: Sent) -> (Outcome, Retry) {
        let undone = self.is_lost() && call.before == State::Open && call.effect != Effect::Commit;
        if undone {
            (Outcome::Refused, Retry::Transaction)
        } else {
            (error.outcome(), error.retry())
        }
    }

    /// Keeps a statement prepared, and has the one whose place it takes forgotten.
    fn keep(&mut self, id: u32, sql: &str) {
        if self.driver.session().statement(id).is_some()
            && let Some(evicted) = self.cache.keep(sql, id)
        {
            self.finalize(evicted);
        }
    }

    fn keep_of(&mut self, running: &Running<'_>) {
        if let Some((id, sql)) = running.kept() {
            self.keep(id, sql);
        }
    }

    /// While a statement is under way: what is left if nobody waits for its end.
    fn meanwhile(&self) -> State {
        if self.owned && self.state != State::None {
            State::Abandoned
        } else {
            self.state.while_running()
        }
    }

    /// Has the server forget statements whose calls were given up before they were kept.
    fn forget_lost_statements(&mut self) {
        let session = self.driver.session();
        if session.statements().len() > self.cache.len() {
            let lost = session.statements().filter(|id| !self.cache.holds(*id));
            let lost: Vec<u32> = lost.collect();
            for id in lost {
                self.finalize(id);
            }
        }
    }

    fn finalize(&mut self, statement: u32) {
        let session = self.driver.session_mut();
        if let Ok(ticket) = session.queue(&Request::Finalize { statement }) {
            session.abandon(ticket);
        }
    }
}

/// What a pool must know and do.
impl<D: Driver> Body<D> {
    /// Whether nothing of an earlier caller can be found in the session.
    pub(crate) fn is_fresh(&self) -> bool {
        !self.has_begun && self.state == State::None
    }

    /// Makes it fresh. After an error it must be closed.
    pub(crate) async fn reset(&mut self, deadline: Instant) -> Result<()> {
        if !self.is_fresh() {
            self.roll_back(deadline).await?;
            self.has_begun = false;
        }
        (self.within, self.limit) = (None, None);
        self.driver.ready(deadline).await
    }

    /// Asks the server whether the session serves. After an error it must be closed.
    pub(crate) async fn check(&mut self, deadline: Instant) -> Result<()> {
        let plan = self.control("SELECT 1", ())?;
        self.send(plan, deadline).await.map(drop)
    }
}

/// What is remembered of a statement until it is answered.
#[derive(Clone, Copy, Debug)]
struct Sent {
    before: State,
    effect: Effect,
    rolls_back: bool,
    statement: Option<Fingerprint>,
}

impl Sent {
    /// From now on the state is what is left if nobody waits for the answer.
    fn of<D: Driver>(body: &mut Body<D>, plan: &Plan<'_>) -> Self {
        let before = body.state;
        body.state = body.meanwhile();
        Self {
            before,
            effect: plan.effect(),
            rolls_back: plan.rolls_back(),
            statement: plan.fingerprint(),
        }
    }
}

/// A statement whose rows are under way.
#[derive(Debug)]
pub(crate) struct Stream {
    statement: Streaming<'static>,
    call: Sent,
    /// Somebody waits for rows, or did when he gave up.
    is_waited_for: bool,
    ended: bool,
}

impl Stream {
    /// Whether nothing more comes.
    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }
}
