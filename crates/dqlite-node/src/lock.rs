//! One node process per directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::HostError;

/// How long a holder that says it is stopping is waited for.
const DRAINING_WAIT: Duration = Duration::from_secs(10);
/// How long any holder is waited for: it may be about to notice that its application died.
const LIVE_WAIT: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(20);

/// The lock of a node process on its directory; released when dropped, and by the kernel when the
/// process ends in any way.
#[derive(Debug)]
pub(crate) struct NodeLock {
    file: Flock<File>,
    holder: Holder,
}

/// What the lock file says of the process that holds it, for error messages.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Holder {
    pid: u32,
    /// Unix time in milliseconds.
    started: u64,
    address: String,
    #[serde(default)]
    draining: bool,
}

impl NodeLock {
    /// Locks `node.lock` in `directory`.
    pub(crate) fn acquire(directory: &Path, address: &str) -> Result<Self, HostError> {
        let path = directory.join("node.lock");
        let fail = |reason: io::Error| HostError::data_dir(&path, &reason);
        let begun = Instant::now();
        loop {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600);
            let file = options.open(&path).map_err(fail)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => {
                    let holder = Holder {
                        pid: std::process::id(),
                        started: unix_ms(),
                        address: address.to_owned(),
                        draining: false,
                    };
                    let lock = Self { file, holder };
                    lock.say(&lock.holder).map_err(fail)?;
                    return Ok(lock);
                }
                Err((mut file, Errno::EWOULDBLOCK)) => {
                    let holder = Holder::read(&mut file);
                    let draining = holder.as_ref().is_some_and(|holder| holder.draining);
                    let wait = if draining { DRAINING_WAIT } else { LIVE_WAIT };
                    if begun.elapsed() > wait {
                        let by = holder.map_or_else(|| "another node".to_owned(), Holder::describe);
                        return Err(HostError::Locked {
                            path: directory.to_owned(),
                            by,
                        });
                    }
                    std::thread::sleep(RETRY);
                }
                Err((_, errno)) => return Err(fail(errno.into())),
            }
        }
    }

    /// Refuses a directory in which an engine runs that is not ours: a go-dqlite application.
    ///
    /// The engine's own lock is released again, because the engine takes it itself.
    pub(crate) fn others_absent(directory: &Path) -> Result<(), HostError> {
        let path = directory.join("dqlite-lock");
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(reason) => return Err(HostError::data_dir(&path, &reason)),
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_) => Ok(()),
            Err((_, Errno::EWOULDBLOCK)) => Err(HostError::Locked {
                path: directory.to_owned(),
                by: "an engine that is not hosted by this program".to_owned(),
            }),
            Err((_, errno)) => Err(HostError::data_dir(&path, &errno.into())),
        }
    }

    /// Tells whoever waits that the lock will be released soon.
    pub(crate) fn draining(&self) {
        // Only the wording of somebody else's error depends on it.
        let _ = self.say(&Holder {
            draining: true,
            ..self.holder.clone()
        });
    }

    fn say(&self, holder: &Holder) -> io::Result<()> {
        let mut file: &File = &self.file;
        let text = serde_json::to_vec(holder)?;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)
    }
}

impl Holder {
    fn read(file: &mut File) -> Option<Self> {
        let mut text = Vec::new();
        file.take(4096).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn describe(self) -> String {
        let seconds = unix_ms().saturating_sub(self.started) / 1000;
        format!(
            "pid {} (node {}, started {seconds} s ago)",
            self.pid, self.address
        )
    }
}

/// Wall clock in milliseconds, for messages.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
