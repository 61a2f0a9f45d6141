//! Connecting the engine to its peers, without ever holding up one of its worker threads.
//!
//! *Engine*: the connect function runs on the pool that also executes statements; after a failure
//! it is called again 1000 ms later, after a broken stream at once. So [`PlainDialer`] returns
//! within 50 ms and never fails for want of a peer: where none answers in time, the engine gets one
//! end of a socket pair whose other end is *parked*. Nothing is read from it; it is closed when the
//! peer answers a probe, or after a second, and the engine's next write brings it back here.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use super::hangup::HangUps;

/// Connects to an advertised address: a connected, blocking stream socket.
pub type Dialer = Box<dyn Fn(&str) -> io::Result<OwnedFd> + Send + Sync>;

/// What a call may take, less a margin for the scheduler.
const CONNECT_BUDGET: Duration = Duration::from_millis(40);
const PARKED_AT_MOST: Duration = Duration::from_secs(1);
const PROBE_EVERY: Duration = Duration::from_millis(100);
const NAME_LIFETIME: Duration = Duration::from_secs(1);
const KEEPALIVE: Duration = Duration::from_secs(3);
const KEEPALIVE_PROBES: u32 = 3;

/// Dials plain TCP.
#[derive(Clone)]
pub struct PlainDialer {
    user_timeout: Duration,
    names: Arc<Mutex<HashMap<String, Name>>>,
    hang_ups: HangUps,
}

#[derive(Clone)]
enum Name {
    Resolving,
    Known(Vec<SocketAddr>, Instant),
}

impl PlainDialer {
    /// A dialler for a cluster of this latency: unacknowledged data breaks a connection after ten
    /// election timeouts, three seconds at least.
    pub fn new(network_latency_ms: u32) -> Self {
        let elections = Duration::from_millis(150) * network_latency_ms;
        let user_timeout = elections.max(Duration::from_secs(3));
        Self {
            user_timeout,
            names: Arc::default(),
            hang_ups: HangUps::new(),
        }
    }

    /// As the engine's connect function wants it.
    pub fn into_dialer(self) -> Dialer {
        Box::new(move |address| self.dial(address))
    }

    /// A socket to `address`, or to nobody for a while; within 50 ms.
    pub fn dial(&self, address: &str) -> io::Result<OwnedFd> {
        let connected = self
            .known(address)
            .and_then(|targets| connect(&targets, CONNECT_BUDGET));
        match connected {
            Some(stream) => {
                self.tune(&stream)?;
                self.hang_ups.watch(address, &stream)?;
                Ok(stream.into())
            }
            None => self.park(address),
        }
    }

    /// Small messages leave at once, and a peer that is gone is noticed.
    pub(crate) fn tune(&self, stream: &impl AsFd) -> io::Result<()> {
        let socket = SockRef::from(stream);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE)
            .with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)
    }

    /// Where `address` is, if that needs no waiting.
    fn known(&self, address: &str) -> Option<Vec<SocketAddr>> {
        if let Ok(numeric) = address.parse() {
            return Some(vec![numeric]);
        }
        match self.names().get(address) {
            Some(Name::Known(targets, at)) if at.elapsed() < NAME_LIFETIME => Some(targets.clone()),
            _ => None,
        }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn park(&self, address: &str) -> io::Result<OwnedFd> {
        let (engine_end, parked) = UnixStream::pair()?;
        let (dialer, address) = (self.clone(), address.to_owned());
        thread::Builder::new()
            .name("dqlite-park".into())
            .spawn(move || {
                dialer.await_peer(&address, Instant::now() + PARKED_AT_MOST);
                drop(parked);
            })?;
        Ok(engine_end.into())
    }

    /// Returns when the peer accepts a connection, or at the deadline.
    fn await_peer(&self, address: &str, deadline: Instant) {
        let left = || deadline.saturating_duration_since(Instant::now());
        while !left().is_zero() {
            let began = Instant::now();
            let targets = self
                .known(address)
                .or_else(|| self.resolve(address, left()));
            // The socket that answered is given up: the engine asks for one by itself.
            if targets.is_some_and(|targets| connect(&targets, PROBE_EVERY.min(left())).is_some()) {
                return;
            }
            thread::sleep(PROBE_EVERY.saturating_sub(began.elapsed()).min(left()));
        }
    }

    /// Resolves a name within `budget`; the resolver itself has no deadline, so it runs aside, at
    /// most once a name.
    fn resolve(&self, address: &str, budget: Duration) -> Option<Vec<SocketAddr>> {
        {
            let mut names = self.names();
            if matches!(names.get(address), Some(Name::Resolving)) {
                return None;
            }
            names.insert(address.to_owned(), Name::Resolving);
        }
        let (send, receive) = mpsc::channel();
        let (dialer, name) = (self.clone(), address.to_owned());
        let resolver = thread::Builder::new()
            .name("dqlite-resolve".into())
            .spawn(move || {
                let targets: Vec<_> = name
                    .to_socket_addrs()
                    .map(Iterator::collect)
                    .unwrap_or_default();
                dialer
                    .names()
                    .insert(name, Name::Known(targets.clone(), Instant::now()));
                // The asker may have stopped waiting; the name is in the map for the next one.
                send.send(targets).ok();
            });
        if resolver.is_err() {
            self.names().remove(address);
        }
        receive.recv_timeout(budget).ok()
    }
}

/// The first target that accepts; all of them share `budget`.
fn connect(targets: &[SocketAddr], budget: Duration) -> Option<TcpStream> {
    let share = budget / u32::try_from(targets.len()).ok().filter(|n| *n > 0)?;
    targets
        .iter()
        .filter(|_| !share.is_zero())
        .find_map(|target| {
            let socket = Socket::new(Domain::for_address(*target), Type::STREAM, None).ok()?;
            socket.connect_timeout(&(*target).into(), share).ok()?;
            Some(socket.into())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Far below the second for which a parked end lives, far above what a busy machine adds.
    const AT_ONCE: Duration = Duration::from_millis(500);

    fn dial_at_once(dialer: &PlainDialer, address: &str) -> Socket {
        let began = Instant::now();
        let socket = dialer.dial(address).unwrap();
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        socket.into()
    }

    fn is_tcp(socket: &Socket) -> bool {
        socket.local_addr().unwrap().as_socket().is_some()
    }

    #[test]
    fn a_numeric_address_gives_a_tuned_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let socket = dial_at_once(&PlainDialer::new(20), &address);
        assert!(is_tcp(&socket));
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert!(!socket.nonblocking().unwrap());
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(3))
        );
    }

    #[test]
    fn a_dead_peer_parks_for_a_second_and_takes_what_is_written() {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let began = Instant::now();
        let mut socket = dial_at_once(&PlainDialer::new(20), &free);
        assert!(!is_tcp(&socket));
        socket.write_all(&[1; 40]).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let ended = socket.read(&mut [0; 8]);
        assert!(!matches!(&ended, Ok(n) if *n > 0), "{ended:?}");
        assert!(
            began.elapsed() >= Duration::from_millis(900),
            "{:?}",
            began.elapsed()
        );
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "{:?}",
            began.elapsed()
        );
    }

    #[test]
    fn a_parked_end_is_closed_as_soon_as_the_peer_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let dialer = PlainDialer::new(20);
        let address = format!("localhost:{port}");
        let began = Instant::now();
        let mut parked = dial_at_once(&dialer, &address);
        assert!(!is_tcp(&parked), "a name is not resolved within the call");
        parked
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        assert_eq!(parked.read(&mut [0; 8]).unwrap(), 0);
        assert!(
            began.elapsed() < Duration::from_millis(900),
            "{:?}",
            began.elapsed()
        );
        assert!(
            is_tcp(&dial_at_once(&dialer, &address)),
            "and then is known"
        );
    }

    #[test]
    fn nonsense_is_parked_like_an_absent_peer() {
        for address in ["", "nowhere", "a:b:c", "no.such.host.invalid:1"] {
            assert!(!is_tcp(&dial_at_once(&PlainDialer::new(20), address)));
        }
    }
}
