//! The sockets that clients and other nodes dial.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::config::NodeConfig;
use crate::error::HostError;

const BACKLOG: i32 = 1024;
/// *Kernel*: a socket's path has room for this much and a NUL.
const UNIX_PATH_MAX: usize = 107;

/// The bound sockets of a node. Nothing is accepted yet.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(super) tcp: TcpListener,
    pub(super) unix: Option<Unix>,
}

/// The listener for programs on the same machine; its file goes when it is dropped.
#[derive(Debug)]
pub(super) struct Unix {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

/// What is set on each accepted TCP connection.
#[derive(Clone, Debug)]
pub(super) struct TcpOptions {
    keepalive: TcpKeepalive,
    user_timeout: Option<Duration>,
}

impl Listeners {
    /// Binds everything that the configuration asks for.
    pub(crate) async fn bind(config: &NodeConfig) -> Result<Self, HostError> {
        let place = config.bind_text();
        let tcp = bind_tcp(&place)
            .await
            .map_err(|reason| HostError::bind(&place, &reason))?;
        let unix = config
            .unix_path()
            .map(|path| Unix::bind(&path))
            .transpose()?;
        Ok(Self { tcp, unix })
    }

    /// What the TCP listener is bound to.
    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        self.tcp.local_addr().ok()
    }

    /// The path of the Unix listener.
    pub(crate) fn unix_path(&self) -> Option<&Path> {
        self.unix.as_ref().map(|unix| unix.path.as_path())
    }
}

impl TcpOptions {
    pub(super) fn new(config: &NodeConfig) -> Self {
        let (idle, interval, probes) = config.keepalive;
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(idle.into()))
            .with_interval(Duration::from_secs(interval.into()))
            .with_retries(probes);
        let timeout = Duration::from_millis(config.user_timeout_ms.into());
        Self {
            keepalive,
            user_timeout: (!timeout.is_zero()).then_some(timeout),
        }
    }

    /// *Engine*: small replies wait for acknowledgements unless NODELAY is set.
    pub(super) fn set(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        socket.set_tcp_keepalive(&self.keepalive)?;
        socket.set_tcp_user_timeout(self.user_timeout)
    }
}

async fn bind_tcp(place: &str) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(place).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(reason) => failed = reason,
        }
    }
    Err(failed)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restarted node binds although connections of its former self linger.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

impl Unix {
    fn bind(path: &Path) -> Result<Self, HostError> {
        let place = path.display().to_string();
        let fail = |reason: &io::Error| HostError::bind(&place, reason);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(fail(&io::ErrorKind::InvalidInput.into()));
        };
        // A path that is too long for a socket is shortened through a descriptor of its directory.
        let directory = (path.as_os_str().as_bytes().len() > UNIX_PATH_MAX)
            .then(|| open(parent, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()))
            .transpose()
            .map_err(|errno| fail(&errno.into()))?;
        let short = directory.as_ref().map_or_else(
            || path.to_owned(),
            |fd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())).join(name),
        );
        make_room(&short).map_err(|reason| fail(&reason))?;
        let listener = UnixListener::bind(&short).map_err(|reason| fail(&reason))?;
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&short, mode).map_err(|reason| fail(&reason))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }
}

impl Drop for Unix {
    fn drop(&mut self) {
        // A leftover is recognised and replaced by the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the socket of a node that is gone.
fn make_room(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(reason) => Err(reason),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::other("the file exists and is not a socket"))
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(io::ErrorKind::AddrInUse.into())
        }
        Ok(_) => fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn connections_are_quick_watched_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let options = json!({"address": "127.0.0.1:1", "data_dir": directory.path(),
                             "keepalive": [7, 2, 4], "user_timeout_ms": 9000});
        let mut config = NodeConfig::from_options(options.as_object().unwrap()).unwrap();
        config.bind_address = Some("127.0.0.1:0".to_owned());
        let listeners = Listeners::bind(&config).await.unwrap();
        let unix = listeners.unix_path().unwrap();
        assert_eq!(unix, directory.path().join("node.sock"));
        let mode = fs::metadata(unix).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let client = TcpStream::connect(listeners.bound().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listeners.tcp.accept().await.unwrap();
        TcpOptions::new(&config).set(&accepted).unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(7));
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(2)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(9))
        );
        drop(client);
    }
}
