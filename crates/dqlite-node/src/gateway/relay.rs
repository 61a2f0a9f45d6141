//! Moves bytes between a client and its own connection to the engine.
//!
//! ```text
//!            client_in ─► Requests ─► engine_out
//!  client ◄►                 │ Talk (guard, slots)            ◄► engine
//!            client_out ◄─ Replies ◄─ engine_in
//! ```
//!
//! Each of the four buffers is bounded: when one side cannot take more, the other is not read.
//! When the client goes away its statements are ended; what the engine still owes is read and
//! thrown away before the engine's side is closed.
//!
//! *Engine* (1.18.2 to 1.18.7): a socket closed in the middle of a result leaks the transaction
//! of its statement for ever, and a node with an unread result never stops.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dqlite_proto::Response;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout};

use super::change;
use super::client::Client;
use super::clock::{Clock, Overdue};
use super::counters::{Reason, add};
use super::eager::{Eager, Wait};
use super::flow::{READ_BYTES, READ_BYTES_MAX, poll_drain};
use super::quiet::{Look, Quiet};
use super::replies::{self, Replies};
use super::requests::{self, Requests};
use super::talk::{Ending, Rules, Talk, message};
use crate::peers::{Claim, Peers};

/// How long one connection may keep the thread before others are looked at.
const TURN: Duration = Duration::from_micros(50);

/// How far the gateway is with its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Connections live as long as their clients want.
    Serving,
    /// A connection ends as soon as it is owed nothing.
    Draining,
    /// Clients are cut off; what the engine still owes is thrown away.
    Cutting,
}

/// What a relay needs beside its two streams.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) rules: Arc<Rules>,
    pub(super) phase: watch::Receiver<Phase>,
    /// Who may open a stream between nodes; knows the engine and this node's address.
    pub(super) peers: Arc<Peers>,
    /// Bound of that decision.
    pub(super) patience: Duration,
}

/// Serves one client until either side ends; `first` is what was read of it already.
pub(super) async fn run<C: Client>(
    client: C,
    engine: Quiet,
    first: &[u8],
    permit: OwnedSemaphorePermit,
    mut around: Surroundings,
) {
    let mut relay = Relay::new(client, engine, first, &around);
    loop {
        let now = *around.phase.borrow_and_update();
        relay.leaving |= now >= Phase::Draining;
        if now == Phase::Cutting {
            relay.lose_client();
        }
        let event = tokio::select! {
            event = std::future::poll_fn(|context| relay.poll(context)) => event,
            changed = around.phase.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        match event {
            Event::Over => return,
            Event::Awake => tokio::task::yield_now().await,
            Event::Change(message) => {
                let peers = Arc::clone(&around.peers);
                let asking = async move { change::ask(&peers, &message).await };
                relay.change = Some(Box::pin(asking));
            }
            Event::Connect(claim, message) => {
                let certificate = relay.client.as_ref().and_then(Client::certificate);
                let security = &relay.talk.rules.security;
                let admitted = match security.may_be(certificate.as_ref(), &claim.address) {
                    Err(why) => Ok(Err(why)),
                    Ok(()) => timeout(around.patience, around.peers.admit(&claim)).await,
                };
                let late = || "no answer in time".to_owned();
                if let Err(why) = admitted.unwrap_or_else(|_| Err(late())) {
                    relay.talk.rules.counters.refuse(Reason::Peer);
                    if around.peers.is_news(&claim.address) {
                        let Claim { id, address } = &claim;
                        tracing::warn!("a stream from {address} as node {id} is refused: {why}");
                    }
                    return;
                }
                drop(permit);
                if let Err(reason) = relay.pump(&message, around.phase).await {
                    tracing::debug!("stream from {} ended: {reason}", claim.address);
                }
                return;
            }
        }
    }
}

/// What a relay cannot do by itself.
enum Event {
    Over,
    /// What is awaited may come at once: the thread should look for it, not sleep.
    Awake,
    Change(Bytes),
    Connect(Claim, Bytes),
}

type Asking = Pin<Box<dyn Future<Output = Response> + Send>>;

struct Relay<C> {
    /// `None` once the client is gone: replies are thrown away from then on.
    client: Option<C>,
    engine: Quiet,
    /// The engine has closed its side.
    engine_gone: bool,
    client_in: BytesMut,
    engine_out: BytesMut,
    engine_in: BytesMut,
    client_out: BytesMut,
    requests: Requests,
    replies: Replies,
    talk: Talk,
    /// A change of membership that is being asked for; nothing behind it is looked at.
    change: Option<Asking>,
    /// One that waits for the replies before it.
    changes_next: Option<Bytes>,
    /// No more requests are taken; the relay ends when the client is owed nothing.
    leaving: bool,
    clock: Clock,
    eager: Eager,
}

impl<C: Client> Relay<C> {
    fn new(client: C, engine: Quiet, first: &[u8], around: &Surroundings) -> Self {
        let rules = Arc::clone(&around.rules);
        let certificate = client.certificate();
        let may_administrate = rules.security.may_administrate(certificate.as_ref());
        Self {
            client: Some(client),
            engine,
            engine_gone: false,
            client_in: BytesMut::new(),
            engine_out: BytesMut::from(first),
            engine_in: BytesMut::new(),
            client_out: BytesMut::new(),
            requests: Requests::new(),
            replies: Replies::new(),
            clock: Clock::new(rules.limits),
            eager: Eager::new(Instant::now()),
            talk: Talk::new(rules, may_administrate),
            change: None,
            changes_next: None,
            leaving: false,
        }
    }

    /// Ready at the end of the connection, or when the task has something to do.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        self.clock.now = Instant::now();
        let turn = self.clock.now + TURN;
        loop {
            let mut moved = self.poll_change(context);
            moved |= self.poll_client_in(context);
            match self.advance_requests() {
                Ok(passed) => moved |= passed,
                Err(event) => return Poll::Ready(event),
            }
            moved |= self.poll_engine_out(context);
            moved |= self.poll_engine_in(context);
            moved |= self.advance_replies();
            moved |= self.poll_client_out(context);
            if self.is_over() {
                return Poll::Ready(Event::Over);
            }
            if !moved && !self.poll_clock(context) {
                let Some(wait) = self.stays_awake() else {
                    return Poll::Pending;
                };
                if !self.look(wait, turn) {
                    return Poll::Ready(Event::Awake);
                }
            }
        }
    }

    /// What may come at once, if this is the only client that talks and all it said is passed on.
    fn stays_awake(&mut self) -> Option<Wait> {
        let owes = self.talk.guard.slots().owed_by_engine() > 0;
        let others = self.talk.note(owes, self.clock.now) - usize::from(owes);
        let wait = if owes { Wait::Reply } else { Wait::Request };
        let open = self.client.is_some() && !self.leaving && !self.engine_gone;
        let passed = self.client_out.is_empty() && self.engine_out.is_empty();
        let asks = self.change.is_some() || self.changes_next.is_some();
        let next = (open && passed && !asks).then_some((wait, self.talk.settled));
        let awake = self.eager.stays_awake(next, self.clock.now);
        (awake && others == 0 && self.talk.rules.may_stay_awake).then_some(wait)
    }

    /// Looks for what is awaited until it comes, or this connection's turn is over.
    fn look(&mut self, wait: Wait, turn: Instant) -> bool {
        while self.clock.now < turn {
            let looked = match (wait, &mut self.client) {
                (Wait::Reply, _) => self.engine.look(&mut self.engine_in),
                (Wait::Request, Some(client)) => client.look(&mut self.client_in),
                (Wait::Request, None) => Look::Blind,
            };
            self.clock.now = Instant::now();
            match looked {
                Look::Nothing => thread::yield_now(),
                Look::Blind => return false,
                Look::Came(read) => {
                    match wait {
                        Wait::Reply => self.note_replied(&read),
                        Wait::Request => self.note_asked(&read),
                    }
                    return true;
                }
            }
        }
        false
    }

    fn is_over(&mut self) -> bool {
        let told = self.client.is_none() || self.client_out.is_empty();
        if self.engine_gone {
            return told;
        }
        if self.client.is_none() {
            return self.talk.guard.slots().owed_by_engine() == 0;
        }
        let asked = self.change.is_some() || self.changes_next.is_some();
        self.leaving && told && !asked && self.talk.guard.slots().is_empty()
    }

    /// The client has gone, or is given up.
    fn lose_client(&mut self) {
        self.client = None;
        self.client_out.clear();
        self.changes_next = None;
        self.change = None;
        self.abandon();
        self.clock.draining_since.get_or_insert(self.clock.now);
    }

    /// Nobody waits for statements any more.
    fn abandon(&mut self) {
        self.leaving = true;
        self.requests.close(&mut self.talk);
        if self.talk.guard.slots().owed_by_engine() > 0 {
            if self.talk.ending != Some(Ending::Abandoned) {
                add(&self.talk.rules.counters.abandoned, 1);
            }
            self.talk.end(Ending::Abandoned);
        }
    }

    fn poll_change(&mut self, context: &mut Context<'_>) -> bool {
        let Some(asking) = &mut self.change else {
            return false;
        };
        let Poll::Ready(response) = asking.as_mut().poll(context) else {
            return false;
        };
        self.change = None;
        self.talk.guard.slots().answer(message(&response));
        true
    }

    fn poll_client_in(&mut self, context: &mut Context<'_>) -> bool {
        let wanted = self.requests.wanted();
        let Some(client) = self.client.as_mut() else {
            return false;
        };
        if self.leaving || self.engine_gone || self.client_in.len() >= wanted {
            return false;
        }
        let Poll::Ready(read) = client.poll_fill(&mut self.client_in, context) else {
            return false;
        };
        self.note_asked(&read);
        true
    }

    /// The client has sent something, or never will again.
    fn note_asked(&mut self, read: &io::Result<usize>) {
        match read {
            Err(_) => self.lose_client(),
            Ok(0) => self.abandon(),
            Ok(read) => {
                self.clock.heard = self.clock.now;
                add(&self.talk.rules.counters.bytes_in, *read);
            }
        }
    }

    /// Whether anything was passed on.
    fn advance_requests(&mut self) -> Result<bool, Event> {
        if self.leaving || self.change.is_some() {
            return Ok(false);
        }
        if let Some(change) = self.changes_next.take() {
            if self.talk.guard.slots().is_empty() {
                return Err(Event::Change(change));
            }
            self.changes_next = Some(change);
            return Ok(false);
        }
        let before = self.client_in.len();
        let next = self
            .requests
            .advance(&mut self.client_in, &mut self.engine_out, &mut self.talk);
        match next {
            requests::Next::Starved | requests::Next::Held => {}
            requests::Next::Change(change) => self.changes_next = Some(change),
            requests::Next::End => {
                self.leaving = true;
                self.client_in.clear();
            }
            requests::Next::Connect {
                id,
                address,
                message,
            } => return Err(Event::Connect(Claim { id, address }, message)),
        }
        Ok(self.client_in.len() != before)
    }

    fn poll_engine_out(&mut self, context: &mut Context<'_>) -> bool {
        if self.engine_gone {
            return false;
        }
        match poll_drain(&mut self.engine, &mut self.engine_out, context) {
            Poll::Ready(Ok(taken)) => taken > 0,
            Poll::Ready(Err(_)) => {
                // Whatever it has said before is still read.
                self.engine_out.clear();
                self.leaving = true;
                false
            }
            Poll::Pending => false,
        }
    }

    fn poll_engine_in(&mut self, context: &mut Context<'_>) -> bool {
        if self.engine_gone || self.client_out.len() >= replies::WAITING_MAX {
            return false;
        }
        let Poll::Ready(read) = self.engine.poll_fill(&mut self.engine_in, context) else {
            return false;
        };
        self.note_replied(&read);
        true
    }

    /// The same for the engine.
    fn note_replied(&mut self, read: &io::Result<usize>) {
        self.engine_gone = !read.as_ref().is_ok_and(|read| *read > 0);
    }

    fn advance_replies(&mut self) -> bool {
        let before = (self.engine_in.len(), self.client_out.len());
        let advanced =
            self.replies
                .advance(&mut self.engine_in, &mut self.client_out, &mut self.talk);
        if advanced.is_err() {
            tracing::error!("the engine does not follow the protocol; its connection is closed");
            self.engine_gone = true;
            self.engine_in.clear();
        }
        if self.client.is_none() {
            self.client_out.clear();
        }
        (self.engine_in.len(), self.client_out.len()) != before
    }

    fn poll_client_out(&mut self, context: &mut Context<'_>) -> bool {
        let Some(client) = self.client.as_mut() else {
            return false;
        };
        match poll_drain(client, &mut self.client_out, context) {
            Poll::Ready(Ok(taken)) => {
                if taken > 0 {
                    self.clock.told = self.clock.now;
                    add(&self.talk.rules.counters.bytes_out, taken);
                }
                taken > 0
            }
            Poll::Ready(Err(_)) => {
                self.lose_client();
                true
            }
            Poll::Pending => false,
        }
    }

    /// Looks at the limits when it is time to; true if that changed something.
    fn poll_clock(&mut self, context: &mut Context<'_>) -> bool {
        let full = self.client_in.len() >= self.requests.wanted();
        let situation = super::clock::Situation {
            owed: self.talk.guard.slots().len(),
            running: self
                .talk
                .guard
                .slots()
                .asked()
                .is_some_and(|asked| asked.runs())
                .then_some(self.talk.settled),
            between: self.requests.is_between(&self.client_in),
            untold: !self.client_out.is_empty(),
            unread: full && self.client.is_some(),
        };
        let Poll::Ready(overdue) = self.clock.poll(&situation, context) else {
            return false;
        };
        let Some(overdue) = overdue else {
            return true;
        };
        match overdue {
            Overdue::Statement(limit) => {
                if self.talk.ending.is_none() {
                    add(&self.talk.rules.counters.timeouts, 1);
                    self.talk.barred = true;
                    self.talk.end(Ending::TimedOut(limit));
                }
            }
            Overdue::Idle => self.close(Reason::Idle),
            Overdue::IdleInTransaction => {
                if self.talk.handle.in_transaction() {
                    self.close(Reason::IdleInTransaction);
                }
            }
            Overdue::Request => self.close(Reason::Stalled),
            Overdue::Reply => {
                self.talk.rules.counters.refuse(Reason::SlowReader);
                self.lose_client();
            }
            Overdue::Unread => {
                if self.client.as_ref().is_some_and(Client::has_left) {
                    self.lose_client();
                }
            }
            Overdue::Drain => {
                add(&self.talk.rules.counters.slow_drains, 1);
                tracing::warn!("the engine takes over a minute to end what nobody waits for");
            }
        }
        true
    }

    fn close(&mut self, reason: Reason) {
        self.talk.rules.counters.refuse(reason);
        self.lose_client();
    }

    /// Becomes a stream between two engines: bytes, whatever they are, until either side ends or
    /// the gateway cuts.
    async fn pump(mut self, message: &[u8], mut phase: watch::Receiver<Phase>) -> io::Result<()> {
        let Some(mut client) = self.client.take() else {
            return Ok(());
        };
        self.engine.write_all(&self.engine_out).await?;
        self.engine.write_all(message).await?;
        self.engine.write_all(&self.client_in).await?;
        let copy = tokio::io::copy_bidirectional_with_sizes(
            &mut client,
            &mut self.engine,
            READ_BYTES_MAX,
            READ_BYTES,
        );
        tokio::select! {
            copied = copy => copied.map(drop),
            _ = phase.wait_for(|phase| *phase == Phase::Cutting) => Ok(()),
        }
    }
}
