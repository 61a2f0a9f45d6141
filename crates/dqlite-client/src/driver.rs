//! The seam between what connections do, written once, and how their bytes move.
//!
//! What both kinds of connections do is written as futures over a [`Driver`]. The driver of tokio
//! waits in them; the blocking one waits inside a single poll, so that [`now`] has the result.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use dqlite_proto::Session;

use crate::address::Address;
use crate::config::Config;
use crate::error::Result;
use crate::exchange::Exchange;

/// A session with a server, and the means to move its bytes.
pub(crate) trait Driver: Sized + Send {
    /// Finds the leader and opens the database.
    fn dial(config: &Config, deadline: Instant) -> impl Future<Output = Result<Self>> + Send;

    /// The session.
    fn session(&self) -> &Session;

    /// The session, to queue requests.
    fn session_mut(&mut self) -> &mut Session;

    /// With whom.
    fn address(&self) -> &Address;

    /// Makes sure that a request would reach somebody: reads what is left of requests that were
    /// given up, and notices when the server has closed the connection meanwhile.
    fn ready(&mut self, deadline: Instant) -> impl Future<Output = Result<()>> + Send;

    /// Drives an exchange to its next output, at most until `deadline`, or a moment longer where
    /// the server can say how a statement ended.
    fn run<X>(
        &mut self,
        exchange: &mut X,
        deadline: Instant,
    ) -> impl Future<Output = Result<X::Output>> + Send
    where
        X: Exchange<Output: Send> + Send;

    /// Whether a request would be the first thing that happens. Nothing is sent.
    fn is_quiet(&self) -> bool;

    /// Gives up what is under way, without waiting; a server that can is told to end it.
    fn cut(&mut self);

    /// Waits.
    fn sleep(time: Duration) -> impl Future<Output = ()> + Send;
}

/// The result of a future whose driver never makes it wait for a waker.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("a driver that blocks was waited for"),
    }
}
