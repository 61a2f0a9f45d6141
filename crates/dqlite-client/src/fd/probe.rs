//! One attempt at one address, from its name to a session, in steps that never block.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Instant;

use dqlite_proto::Event;
use nix::poll::PollFlags;
use socket2::{SockRef, Socket};

use super::wait::{Ready, interest};
use super::{Filled, Link};
use crate::address::{Address, Place};
use crate::config::Config;
use crate::error::{AttemptKind, Error, ErrorKind, Result};
use crate::exchange::Exchange;
use crate::hello::{Greeting, Hello, Purpose};
use crate::search::Answer;
use crate::secure;
use crate::transport::{self, Targets};

/// How an attempt ended.
pub(super) enum End {
    /// Connected; the session is as it was wanted.
    Ready(Box<Link>),
    /// This is not the one.
    Answer(Answer),
    /// Nobody else would do, either.
    Fatal(Error),
}

/// An attempt under way.
pub(super) struct Attempt {
    config: Config,
    address: Address,
    purpose: Purpose,
    state: State,
    pub(super) until: Instant,
}

enum State {
    /// A thread asks the system's resolver; its end of `wake` closes when it has.
    Resolving(Receiver<io::Result<Targets>>, UnixStream),
    Connecting(Socket, Targets, Instant),
    Talking(Box<Link>, Hello, bool),
    Over,
}

type Ended<T> = Result<T, End>;

impl Attempt {
    /// Begins it.
    pub(super) fn start(
        config: &Config,
        address: Address,
        purpose: Purpose,
        until: Instant,
    ) -> Ended<Self> {
        let mut attempt = Self {
            config: config.clone(),
            address,
            purpose,
            state: State::Over,
            until,
        };
        match transport::targets(&attempt.address).map_err(miss)? {
            Some(targets) => attempt.connect(targets, None)?,
            None => attempt.resolve()?,
        }
        Ok(attempt)
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.state {
            State::Resolving(_, wake) => Some((wake.as_fd(), interest(true, false))),
            State::Connecting(socket, ..) => Some((socket.as_fd(), interest(false, true))),
            State::Talking(link, _, flushed) => Some((link.as_fd(), interest(true, !flushed))),
            State::Over => None,
        }
    }

    /// When to look again although nothing happened.
    pub(super) fn wake_at(&self) -> Instant {
        match &self.state {
            State::Connecting(_, _, until) => self.until.min(*until),
            _ => self.until,
        }
    }

    /// Goes on; `Err` is the end.
    pub(super) fn advance(&mut self, ready: Ready, now: Instant) -> Ended<()> {
        if now >= self.until {
            return Err(self.late());
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Resolving(results, wake) => match results.try_recv() {
                Ok(targets) => {
                    let targets = targets.map_err(|error| self.unresolved(Some(&error)))?;
                    self.connect(targets, None)?;
                }
                Err(TryRecvError::Empty) => self.state = State::Resolving(results, wake),
                Err(TryRecvError::Disconnected) => return Err(self.unresolved(None)),
            },
            State::Connecting(socket, targets, until) => {
                if ready.writable {
                    match transport::finish(&SockRef::from(&socket)) {
                        Ok(()) => self.greet(socket)?,
                        Err(error) => self.connect(targets, Some(error))?,
                    }
                } else if now >= until {
                    self.connect(targets, Some(io::ErrorKind::TimedOut.into()))?;
                } else {
                    self.state = State::Connecting(socket, targets, until);
                }
            }
            State::Talking(link, hello, _) => self.talk(link, hello, ready.readable)?,
            State::Over => {}
        }
        Ok(())
    }

    /// It took too long.
    pub(super) fn late(&self) -> End {
        let text = match self.state {
            State::Resolving(..) => "the name was not resolved in time",
            State::Connecting(..) => "cannot be reached in time",
            State::Talking(ref link, ..) if !link.is_open() => "tls: no handshake in time",
            _ => "connected, no answer in time",
        };
        End::Answer(Answer::Failed(AttemptKind::Timeout, text.to_owned()))
    }

    fn unresolved(&self, error: Option<&io::Error>) -> End {
        let host = self.address.host().unwrap_or_default();
        let (kind, text) = transport::unresolved(host, error);
        End::Answer(Answer::Failed(kind, text))
    }

    fn resolve(&mut self) -> Ended<()> {
        let Place::Tcp { host, port } = self.address.place() else {
            return Ok(());
        };
        let (wake, theirs) = UnixStream::pair().map_err(miss)?;
        let (sender, results) = channel();
        let (host, port) = (host.clone(), *port);
        let thread = std::thread::Builder::new().name("dqlite-resolve".to_owned());
        let resolver = move || {
            // Nobody listens any more after a timeout.
            let _ = sender.send(transport::resolve(&host, port));
            drop(theirs);
        };
        thread.spawn(resolver).map_err(miss)?;
        self.state = State::Resolving(results, wake);
        Ok(())
    }

    /// Tries the next place; the last one's error counts.
    fn connect(&mut self, mut targets: Targets, mut error: Option<io::Error>) -> Ended<()> {
        while let Some(target) = targets.pop_front() {
            match transport::begin(&target) {
                Ok(socket) => {
                    let until = Instant::now() + transport::CONNECT_TIMEOUT;
                    self.state = State::Connecting(socket, targets, until);
                    return Ok(());
                }
                Err(failed) => error = Some(failed),
            }
        }
        Err(error.map_or_else(|| self.unresolved(None), miss))
    }

    fn greet(&mut self, socket: Socket) -> Ended<()> {
        let mut session = self.config.session(&self.address);
        let hello = Hello::start(&mut session, self.address.clone(), self.purpose.clone());
        let channel = self.config.security.channel(&self.address);
        let channel = channel.map_err(|(kind, text)| End::Answer(Answer::Failed(kind, text)))?;
        let link = Box::new(Link::new(socket, channel, session, self.address.clone()));
        self.talk(link, hello.map_err(End::Fatal)?, false)
    }

    fn talk(&mut self, mut link: Box<Link>, mut hello: Hello, readable: bool) -> Ended<()> {
        let filled = if readable {
            link.fill()
        } else {
            Ok(Filled::WouldBlock)
        };
        if !matches!(filled, Ok(Filled::Bytes(_) | Filled::WouldBlock)) {
            if let Some((kind, text)) = secure::answered_in_tls(link.session_mut().input()) {
                return Err(End::Answer(Answer::Failed(kind, text)));
            }
            return Err(broken(filled.err().unwrap_or_else(|| link.closed())));
        }
        while let Some(event) = link.event().map_err(broken)? {
            if let Some(greeting) = greeting(&mut link, &mut hello, event)? {
                return Err(self.end(link, greeting));
            }
        }
        if hello.is_confirmed() && !self.purpose.any {
            self.config.memory.found(&self.address);
        }
        let flushed = link.flush().map_err(broken)?;
        self.state = State::Talking(link, hello, flushed);
        Ok(())
    }

    fn end(&self, link: Box<Link>, greeting: Greeting) -> End {
        match greeting {
            Greeting::Ready(members) => {
                self.config
                    .connected(&self.address, link.session(), members);
                End::Ready(link)
            }
            Greeting::Elsewhere(answer) => End::Answer(answer),
            Greeting::Refused(error) => End::Fatal(error),
        }
    }
}

fn greeting(link: &mut Link, hello: &mut Hello, event: Event) -> Ended<Option<Greeting>> {
    hello.event(link.session_mut(), event).map_err(broken)
}

fn miss(error: impl Into<io::Error>) -> End {
    let (kind, text) = transport::miss(&error.into());
    End::Answer(Answer::Failed(kind, text))
}

/// The connection ended before the answer was complete.
fn broken(error: Error) -> End {
    End::Answer(match error.kind() {
        ErrorKind::Protocol => transport::not_dqlite(),
        ErrorKind::Lost => transport::closed(&error),
        _ => return End::Fatal(error),
    })
}
