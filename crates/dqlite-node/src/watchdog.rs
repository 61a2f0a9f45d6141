//! Ends a process whose engine is wedged, so that the supervisor can start another.
//!
//! ```text
//!  dqlite-watchdog (a plain thread): LEADER, five times a second ─► silence ─┐
//!  a task of the node: what others say, when the engine names no leader ─────┤ verdict
//!                      ─► detached                                           │
//!  another: clients that are told BUSY, and tries of its own ─► stuck ────────┤
//!                                                                             ▼
//!                              event `watchdog` ─► exit status 75 ─► restart with back-off
//! ```
//!
//! The thread needs nothing of the node's runtime: should that be stuck, too, the thread ends the
//! process by itself.

mod detached;
mod silence;
mod stuck;

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dqlite_proto::{Code, Event, Limits, ParamsRef, Request, Role, Session};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::detached::{Outlook, Uptime};
use self::silence::{Look, Silence};
use self::stuck::Suspicion;
use crate::engine;
use crate::event::State;
use crate::gateway::Roll;
use crate::leader::Local;
use crate::peer::{Peer, PeerError};
use crate::watch::View;

/// The exit status of a process that its watchdog ended.
pub const EXIT_STATUS: i32 = 75;

const INTERVAL: Duration = Duration::from_millis(200);
/// How long the node's runtime may take to act on a verdict.
const ACT_LIMIT: Duration = Duration::from_secs(1);
/// One question to another node.
const PATIENCE: Duration = Duration::from_secs(1);
/// Looks at who waits for a database.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Ticks of the kernel's CPU clocks per second, on every platform with an engine.
const TICKS: u64 = 100;
/// Restarts of a detached node, one a line.
const HISTORY: &str = "detached";

/// Why the process has to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `mute`, `detached` or `writers-stuck`.
    pub name: &'static str,
    /// What was observed.
    pub evidence: String,
}

/// The thread that watches the engine; ends with this handle.
#[derive(Debug)]
pub(crate) struct Watchdog {
    over: Arc<AtomicBool>,
}

impl Watchdog {
    /// Watches the engine at `name`, whose loop runs in `thread`. A verdict goes to `verdicts`;
    /// if nobody acts on it the process ends here.
    pub(crate) fn start(
        name: PathBuf,
        thread: Option<u32>,
        timeout: Duration,
        verdicts: mpsc::Sender<Verdict>,
    ) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&over);
        let watching = move || {
            let mut link = None;
            let mut silence = Silence::new(timeout);
            while !watched.load(Ordering::Acquire) {
                let begun = Instant::now();
                let answered = ask(&mut link, &name).unwrap_or_else(|reason| {
                    tracing::debug!("ask the engine for a sign of life: {reason}");
                    link = None;
                    false
                });
                let at = Instant::now();
                let (cpu, at_work) = thread.map_or((Duration::ZERO, false), activity);
                let look = Look {
                    at,
                    answered,
                    cpu,
                    at_work,
                };
                if let Some(verdict) = silence.look(look) {
                    act(verdict, &verdicts, &watched);
                }
                thread::sleep(INTERVAL.saturating_sub(begun.elapsed()));
            }
        };
        thread::Builder::new()
            .name("dqlite-watchdog".to_owned())
            .spawn(watching)?;
        Ok(Self { over })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

/// Leaves the ending to the node, and sees to it that it comes.
fn act(verdict: Verdict, verdicts: &mpsc::Sender<Verdict>, over: &AtomicBool) {
    tracing::error!("watchdog: {}: {}", verdict.name, verdict.evidence);
    // With a full queue the node acts on an earlier one.
    let _ = verdicts.try_send(verdict);
    thread::sleep(ACT_LIMIT);
    if !over.load(Ordering::Acquire) {
        engine::leave(EXIT_STATUS);
    }
}

/// A connection with one question on its way.
struct Link {
    stream: UnixStream,
    session: Session,
    waits: bool,
}

/// Asks, unless a question is on its way; whether its answer came in time for this look.
fn ask(link: &mut Option<Link>, name: &Path) -> io::Result<bool> {
    let link = match link {
        Some(link) => link,
        None => link.insert(Link::open(name)?),
    };
    if !link.waits {
        let queued = link.session.queue(&Request::Leader);
        queued.map_err(io::Error::other)?;
        link.stream.write_all(link.session.output())?;
        let sent = link.session.output().len();
        link.session.sent(sent);
        link.waits = true;
    }
    let mut bytes = [0; 1024];
    loop {
        match link.session.event().map_err(io::Error::other)? {
            Some(Event::Rows { .. }) => {}
            Some(_) => {
                link.waits = false;
                return Ok(true);
            }
            None => match link.stream.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => link.session.input().extend_from_slice(&bytes[..read]),
                Err(reason) if reason.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(reason) if reason.kind() == io::ErrorKind::Interrupted => {}
                Err(reason) => return Err(reason),
            },
        }
    }
}

impl Link {
    /// *Kernel*: a listener that accepts nobody lets a connect wait; the timeout bounds that, too.
    fn open(name: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_write_timeout(Some(INTERVAL))?;
        socket.set_read_timeout(Some(INTERVAL))?;
        socket.connect(&SockAddr::unix(name)?)?;
        Ok(Self {
            stream: UnixStream::from(std::os::fd::OwnedFd::from(socket)),
            session: Session::new(Limits::default()),
            waits: false,
        })
    }
}

/// The threads of this process.
pub(crate) fn threads() -> Vec<u32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let names = tasks.flatten().map(|task| task.file_name());
    let mut threads: Vec<u32> = names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    threads.sort_unstable();
    threads
}

/// The engine's loop among the threads that were added by its start, which this thread called: it
/// comes before those of the pool. All of them have inherited the name of this thread.
pub(crate) fn loop_thread(before: &[u32]) -> Option<u32> {
    let own = fs::read_to_string("/proc/thread-self/comm").ok()?;
    let name = |thread: u32| fs::read_to_string(format!("/proc/self/task/{thread}/comm")).ok();
    let new = threads()
        .into_iter()
        .filter(|thread| !before.contains(thread));
    new.filter(|thread| name(*thread).as_ref() == Some(&own))
        .min()
}

/// The CPU time that a thread of this process has used, and whether it wants more of it or waits
/// for the disk.
fn activity(thread: u32) -> (Duration, bool) {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    // The second field is the name in parentheses, which may hold anything; user and system time
    // are the 14th and 15th.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = fields.split_ascii_whitespace();
    let at_work = matches!(fields.next(), Some("R" | "D"));
    let ticks = fields.skip(10).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    (Duration::from_millis(ticks * (1000 / TICKS)), at_work)
}

/// Asks the others while the own engine names no leader, and gives the verdict that this node is
/// detached, if a restart may still help.
pub(crate) async fn detached(
    local: Arc<Local>,
    mut views: watch::Receiver<View>,
    verdicts: mpsc::Sender<Verdict>,
) {
    let timeout = local.config.election_timeout();
    let mut since = None;
    let mut told = false;
    while views.has_changed().is_ok() {
        tokio::time::sleep(timeout.max(INTERVAL)).await;
        if views.borrow_and_update().leader.is_some() {
            (since, told) = (None, false);
            continue;
        }
        let since = *since.get_or_insert_with(Instant::now);
        if told || !detached::is_due(since.elapsed(), timeout) {
            continue;
        }
        let Some(verdict) = witness(&local, since).await else {
            continue;
        };
        told = true;
        if remember(&local) {
            let board = &local.board;
            board.enter(State::Detached, &verdict.evidence, Vec::new());
            // With a full queue the node acts on an earlier one.
            let _ = verdicts.try_send(verdict);
        } else {
            let text = format!("restarts do not help: {}", verdict.evidence);
            local.board.warn("detached", text);
        }
    }
}

/// Tries for the lock of each database whose writers are refused although no client may hold it,
/// and gives the verdict that nobody ever will.
pub(crate) async fn stuck(local: Arc<Local>, roll: Arc<Roll>, verdicts: mpsc::Sender<Verdict>) {
    if local.config.watchdog_timeout <= 0.0 {
        return;
    }
    let busy_timeout = Duration::from_millis(local.config.busy_timeout_ms.into());
    let mut suspicions: HashMap<String, Suspicion> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let scenes = roll.look();
        suspicions.retain(|name, _| scenes.contains_key(name));
        for (name, scene) in scenes {
            let suspicion = suspicions.entry(name.clone());
            let suspicion = suspicion.or_insert_with(|| Suspicion::new(busy_timeout));
            if !suspicion.look(Instant::now(), &scene) {
                continue;
            }
            if !is_locked(&local, &name, busy_timeout).await {
                suspicion.clear();
            } else if let Some(verdict) = suspicion.tried(Instant::now(), true) {
                tracing::error!("watchdog: {}: {}", verdict.name, verdict.evidence);
                // With a full queue the node acts on an earlier one.
                let _ = verdicts.try_send(verdict);
                return;
            }
        }
    }
}

/// Whether a writer who waits its turn does not get the lock of this database.
async fn is_locked(local: &Local, database: &str, busy_timeout: Duration) -> bool {
    let run = |sql| Request::ExecSql {
        sql,
        params: ParamsRef::NONE,
    };
    let tried = async {
        let mut peer = Peer::private(&local.engine, PATIENCE).await?;
        peer.call(&Request::open(database)).await?;
        let begin = run("BEGIN IMMEDIATE");
        peer.call_within(&begin, busy_timeout + 2 * PATIENCE)
            .await?;
        peer.call(&run("ROLLBACK")).await
    };
    matches!(tried.await, Err(PeerError::Refused(failure)) if failure.code == Code::BUSY)
}

/// Asks every other member whom it sees lead, and that leader whether this node votes.
async fn witness(local: &Local, since: Instant) -> Option<Verdict> {
    let others = local.board.members().into_iter();
    let mut asked: JoinSet<Option<(u64, String)>> = JoinSet::new();
    for other in others.filter(|other| other.id != local.id) {
        let security = local.security.clone();
        asked.spawn(async move {
            let mut peer = Peer::dial(&security, &other.address, PATIENCE).await.ok()?;
            peer.leader().await.ok()?
        });
    }
    let named: Vec<(u64, String)> = asked.join_all().await.into_iter().flatten().collect();
    let ids: Vec<u64> = named.iter().map(|(id, _)| *id).collect();
    let leader = detached::agreed(&ids)?;
    let (_, address) = named.into_iter().find(|(id, _)| *id == leader)?;
    let mut peer = Peer::dial(&local.security, &address, PATIENCE).await.ok()?;
    let list = peer.members().await.ok()?;
    let votes =
        |member: &dqlite_proto::NodeInfo| member.id == local.id && member.role == Role::Voter;
    detached::judge(&Outlook {
        leaderless: since.elapsed(),
        election_timeout: local.config.election_timeout(),
        named: ids,
        votes: list.iter().any(votes),
    })
}

/// Notes a restart in the data directory; false if there were too many lately. An engine whose
/// disk takes no note has a reason for its state that a restart does not cure.
fn remember(local: &Local) -> bool {
    let file = local.dir.path().join(HISTORY);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let uptime = Uptime::parse(
        &read("/proc/sys/kernel/random/boot_id"),
        &read("/proc/uptime"),
    );
    let history = fs::read_to_string(&file).unwrap_or_default();
    let lines = uptime.and_then(|now| detached::noted(&history, &now));
    lines.is_some_and(|lines| fs::write(&file, lines).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_thread_is_found_and_its_time_counted() {
        let before = threads();
        let (told, hears) = std::sync::mpsc::channel::<()>();
        let spinning = thread::spawn(move || {
            while hears.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                std::hint::spin_loop();
            }
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        let found = loop {
            assert!(Instant::now() < deadline, "no thread found");
            if let Some(found) = loop_thread(&before) {
                break found;
            }
        };
        while activity(found).0 < Duration::from_millis(50) {
            assert!(Instant::now() < deadline, "no time counted");
        }
        assert!(activity(found).1);
        drop(told);
        spinning.join().unwrap();
    }
}
