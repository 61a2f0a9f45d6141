//! Sockets that do not block, and the options that make them quick and honest.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::address::{Address, Place};
use crate::error::{AttemptKind, Error, reason};
use crate::search::Answer;
use crate::secure;

/// A dead peer is noticed within this time even when nothing is sent.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Unacknowledged bytes end the connection after this time.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest path of a Unix socket.
const SOCKET_PATH_MAX: usize = 107;

/// Time for connecting alone.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Places to try for one address, in order.
pub(crate) type Targets = VecDeque<Target>;

/// A place to connect to.
#[derive(Debug)]
pub(crate) struct Target {
    address: SockAddr,
    /// Kept open because the address leads through it.
    _folder: Option<File>,
}

impl Target {
    /// Whether it is a Unix socket.
    pub(crate) fn is_unix(&self) -> bool {
        self.address.domain() == Domain::UNIX
    }
}

impl From<SockAddr> for Target {
    fn from(address: SockAddr) -> Self {
        Self {
            address,
            _folder: None,
        }
    }
}

/// Where an address leads, if that can be told without asking anybody.
pub(crate) fn targets(address: &Address) -> io::Result<Option<Targets>> {
    match address.place() {
        Place::Unix { path, .. } => Ok(Some(VecDeque::from([unix(path)?]))),
        Place::Tcp { host, port } => {
            let numeric = host.parse::<IpAddr>().ok();
            Ok(numeric
                .map(|ip| VecDeque::from([SockAddr::from(SocketAddr::new(ip, *port)).into()])))
        }
    }
}

/// Where a name leads; this blocks as long as the system's resolver does.
pub(crate) fn resolve(host: &str, port: u16) -> io::Result<Targets> {
    Ok((host, port)
        .to_socket_addrs()?
        .map(|place| SockAddr::from(place).into())
        .collect())
}

fn unix(path: &Path) -> io::Result<Target> {
    if path.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok(SockAddr::unix(path)?.into());
    }
    // Too long for the kernel's structure; dialled through an open directory.
    let folder = File::open(path.parent().unwrap_or(path))?;
    let through = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let short = Path::new(&through).join(path.file_name().unwrap_or_default());
    Ok(Target {
        address: SockAddr::unix(short)?,
        _folder: Some(folder),
    })
}

/// Begins to connect. The socket is writable when that has ended, well or not.
pub(crate) fn begin(target: &Target) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(target.address.domain(), kind, None)?;
    if !target.is_unix() {
        tune(&SockRef::from(&socket))?;
    }
    match socket.connect(&target.address) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// How connecting ended.
pub(crate) fn finish(socket: &SockRef<'_>) -> io::Result<()> {
    socket.take_error()?.map_or(Ok(()), Err)
}

/// Small requests leave at once, and a peer that is gone is noticed.
pub(crate) fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE);
    socket.set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE_INTERVAL))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

/// Has what came in acknowledged at once: stock servers hold the next part of a reply back until
/// then, 40 ms each time. The kernel forgets it soon, so it is said before each read that needs it.
pub(crate) fn hurry(socket: &SockRef<'_>) {
    // Only speed is lost when it fails.
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_quickack(true);
}

/// Whether nothing has come on a socket and nobody has closed it.
pub(crate) fn is_quiet(socket: &SockRef<'_>) -> bool {
    let peeked = socket.peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// An attempt that ended with an error of the system.
pub(crate) fn miss(error: &io::Error) -> (AttemptKind, String) {
    use io::ErrorKind as Io;
    let kind = match error.kind() {
        Io::ConnectionRefused => AttemptKind::Refused,
        Io::TimedOut => AttemptKind::Timeout,
        Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe => AttemptKind::Closed,
        _ => AttemptKind::Unreachable,
    };
    (kind, reason(error))
}

/// An attempt that met another protocol.
pub(crate) fn not_dqlite() -> Answer {
    let text = "answered with something that is not dqlite".to_owned();
    Answer::Failed(AttemptKind::NotDqlite, text)
}

/// An attempt whose connection ended before the answer was complete.
pub(crate) fn closed(error: &Error) -> Answer {
    use std::error::Error as _;
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    let (kind, text) = cause
        .and_then(secure::refusal)
        .unwrap_or_else(|| (AttemptKind::Closed, error.to_string()));
    Answer::Failed(kind, text)
}

/// A name that leads nowhere.
pub(crate) fn unresolved(host: &str, error: Option<&io::Error>) -> (AttemptKind, String) {
    let why = error.map_or_else(|| "it has no address".to_owned(), ToString::to_string);
    let why = why.trim_start_matches("failed to lookup address information: ");
    (
        AttemptKind::Unresolved,
        format!("cannot resolve {host}: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn sockets_are_tuned() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = SockAddr::from(listener.local_addr().unwrap()).into();
        let socket = begin(&target).unwrap();
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert!(socket.nonblocking().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }

    #[test]
    fn sockets_in_long_directories_can_be_dialled() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let file = File::open(&deep).unwrap();
        let short = format!("/proc/self/fd/{}/node.sock", file.as_raw_fd());
        let _listener = UnixListener::bind(short).unwrap();
        let address = Address::unix(deep.join("node.sock"), None);
        let is_folder = |link: &std::fs::DirEntry| {
            std::fs::read_link(link.path()).is_ok_and(|target| target == deep)
        };
        let open = || {
            let links = std::fs::read_dir("/proc/self/fd").unwrap();
            links.flatten().filter(is_folder).count()
        };
        let before = open();
        for _ in 0..3 {
            let target = targets(&address).unwrap().unwrap().remove(0).unwrap();
            finish(&SockRef::from(&begin(&target).unwrap())).unwrap();
        }
        assert_eq!(open(), before, "nothing of them stays open");
    }
}
