//! Looking for the leader under tokio: the probes of a search run side by side.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use dqlite_proto::outcome::Call;
use dqlite_proto::{Event, Session, Ticket};
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::address::{Address, Place};
use crate::clock;
use crate::config::Config;
use crate::dialer::Dialled;
use crate::error::{AttemptKind, Error, ErrorKind, Result};
use crate::exchange::Exchange;
use crate::flight::{Flight, Shared, lock};
use crate::hello::{Greeting, Hello, Purpose};
use crate::memory::Memory;
use crate::search::{Answer, ProbeId, Step};
use crate::secure::{self, Missed};
use crate::transport::{self, Target, Targets};
use crate::wire::{Stream, Wire};

/// How an attempt ended.
enum End {
    Ready(Box<Wire>),
    Answer(Answer),
    Fatal(Error),
}

/// Finds the leader; opens a database if one is named. Probes are tasks, which end with it.
pub(crate) async fn search(
    config: &Config,
    database: Option<&str>,
    deadline: Instant,
) -> Result<Wire> {
    let started = clock::now();
    let mut former: Option<Shared> = None;
    loop {
        let theirs = match search_once(config, database, deadline, former).await? {
            Found::Leader(wire) => return Ok(*wire),
            Found::Flight(theirs) => theirs,
        };
        let landed = poll_fn(|cx| config.memory.landed(&theirs, cx.waker()));
        if timeout_at(deadline.into(), landed).await.is_err() {
            return Err(lock(&theirs).error_since(started, clock::now()));
        }
        former = Some(theirs);
    }
}

/// How a search ended.
enum Found {
    Leader(Box<Wire>),
    /// Somebody else is asking everybody.
    Flight(Shared),
}

async fn search_once(
    config: &Config,
    database: Option<&str>,
    deadline: Instant,
    former: Option<Shared>,
) -> Result<Found> {
    let leader = config.memory.leader();
    let search = config.search(leader.as_ref(), deadline);
    if let Some(former) = former {
        lock(&search).inherit(&lock(&former));
    }
    let mut flight: Option<Flight> = None;
    let mut attempts: JoinSet<(ProbeId, End)> = JoinSet::new();
    loop {
        let now = clock::now();
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
            Step::Wait(until) => until.unwrap_or(deadline),
            Step::Probe(probe) => {
                let mut purpose = config.purpose(database, now);
                purpose.ask_members = probe.ask_members;
                let config = config.clone();
                attempts.spawn(async move {
                    (
                        probe.id,
                        attempt(&config, probe.address, purpose, probe.until).await,
                    )
                });
                continue;
            }
        };
        let ended = if attempts.is_empty() {
            tokio::time::sleep_until(until.into()).await;
            continue;
        } else {
            timeout_at(until.into(), attempts.join_next()).await
        };
        let (id, answer) = match ended {
            Err(_) | Ok(None) => continue,
            Ok(Some(Ok((_, End::Ready(wire))))) => {
                config.memory.led_by(wire.address());
                return Ok(Found::Leader(wire));
            }
            Ok(Some(Ok((_, End::Fatal(error))))) => return Err(error),
            Ok(Some(Ok((id, End::Answer(answer))))) => (id, answer),
            Ok(Some(Err(panic))) => {
                let text = "the search for the leader was shut down";
                return Err(Error::usage(text).with_source(panic));
            }
        };
        lock(&search).answered(id, answer, clock::now());
    }
}

/// Connects to one server, whether it leads or not.
pub(crate) async fn connect(config: &Config, address: &Address, deadline: Instant) -> Result<Wire> {
    let purpose = Purpose {
        database: None,
        ask_members: false,
        learn_members: false,
        any: true,
    };
    match attempt(config, address.clone(), purpose, deadline).await {
        End::Ready(wire) => Ok(*wire),
        End::Answer(Answer::Failed(_, text)) => Err(Error::connect(address.as_str(), text)),
        End::Answer(_) => Err(Error::connect(address.as_str(), "no usable answer")),
        End::Fatal(error) => Err(error),
    }
}

async fn attempt(config: &Config, address: Address, purpose: Purpose, until: Instant) -> End {
    let late = |text: &str| Answer::Failed(AttemptKind::Timeout, text.to_owned());
    let stream = match timeout_at(until.into(), open(config, &address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err((kind, text))) => return End::Answer(Answer::Failed(kind, text)),
        Err(_) => return End::Answer(late("cannot be reached in time")),
    };
    let mut session = config.session(&address);
    let searches = !purpose.any;
    let hello = match Hello::start(&mut session, address.clone(), purpose) {
        Ok(hello) => hello,
        Err(error) => return End::Fatal(error),
    };
    let mut wire = Wire::new(stream, session, address.clone());
    let mut hello = Announcing {
        hello,
        found: searches.then_some((&*config.memory, address)),
    };
    match wire.run(&mut hello, until).await {
        Ok(Greeting::Ready(members)) => {
            config.connected(wire.address(), wire.session(), members);
            End::Ready(Box::new(wire))
        }
        Ok(Greeting::Elsewhere(answer)) => End::Answer(answer),
        Ok(Greeting::Refused(error)) => End::Fatal(error),
        Err(error) => End::Answer(match error.kind() {
            ErrorKind::Timeout => late("connected, no answer in time"),
            ErrorKind::Protocol => transport::not_dqlite(),
            ErrorKind::Lost => match secure::answered_in_tls(wire.session_mut().input()) {
                Some((kind, text)) => Answer::Failed(kind, text),
                None => transport::closed(&error),
            },
            _ => return End::Fatal(error),
        }),
    }
}

/// First words that tell other searches as soon as a server has said that it leads.
struct Announcing<'a> {
    hello: Hello,
    found: Option<(&'a Memory, Address)>,
}

impl Exchange for Announcing<'_> {
    type Output = Greeting;

    fn event(&mut self, session: &mut Session, event: Event) -> Result<Option<Greeting>> {
        let greeting = self.hello.event(session, event)?;
        if self.hello.is_confirmed()
            && let Some((memory, leader)) = self.found.take()
        {
            memory.found(&leader);
        }
        Ok(greeting)
    }

    fn ticket(&self) -> Option<Ticket> {
        self.hello.ticket()
    }

    fn call(&self) -> Call {
        self.hello.call()
    }
}

/// Connects to the first place that answers.
async fn open(config: &Config, address: &Address) -> Result<Box<dyn Stream>, Missed> {
    let miss = |error: io::Error| transport::miss(&error);
    if let Some(dialer) = &config.dialer {
        let socket = dialer.dial(address).await.map_err(miss)?;
        let socket = config.security.socket(address, socket).await?;
        return Ok(Box::new(Dialled::new(socket)));
    }
    let targets = match transport::targets(address).map_err(miss)? {
        Some(targets) => targets,
        None => resolve(address).await?,
    };
    let mut error = transport::unresolved(address.host().unwrap_or_default(), None);
    for target in targets {
        let limit = (clock::now() + transport::CONNECT_TIMEOUT).into();
        match timeout_at(limit, open_one(&target)).await {
            Ok(Ok(Socket::Unix(stream))) => return Ok(Box::new(stream)),
            Ok(Ok(Socket::Tcp(stream))) => return config.security.stream(address, stream).await,
            Ok(Err(failed)) => error = miss(failed),
            Err(_) => error = miss(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(error)
}

/// The system's resolver blocks, so it runs where that harms nobody.
async fn resolve(address: &Address) -> Result<Targets, Missed> {
    let Place::Tcp { host, port } = address.place() else {
        return Ok(Targets::new());
    };
    let (name, port) = (host.clone(), *port);
    let resolved = tokio::task::spawn_blocking(move || transport::resolve(&name, port)).await;
    match resolved {
        Ok(Ok(targets)) => Ok(targets),
        Ok(Err(error)) => Err(transport::unresolved(host, Some(&error))),
        Err(_) => Err(transport::unresolved(host, None)),
    }
}

enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

async fn open_one(target: &Target) -> io::Result<Socket> {
    let socket = transport::begin(target)?;
    let is_unix = target.is_unix();
    let socket = OwnedFd::from(socket);
    if is_unix {
        let stream = UnixStream::from_std(socket.into())?;
        stream.writable().await?;
        transport::finish(&SockRef::from(&stream))?;
        return Ok(Socket::Unix(stream));
    }
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    transport::finish(&SockRef::from(&stream))?;
    Ok(Socket::Tcp(stream))
}
