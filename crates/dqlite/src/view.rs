//! What the application knows of its node, shared between its threads and the supervisor.

use std::collections::HashMap;
use std::io::{PipeWriter, Write as _};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dqlite_client::{NodeInfo, Role};

use crate::control::{Answer, FromNode, Missing, Stage, State, ToNode, Tried};
use crate::crash::CrashReport;

/// Events that wait for a subscriber who does not take them; further ones are lost to it.
const EVENTS_MAX: usize = 1024;
/// How long an interrupt of the caller may go unnoticed.
const INTERRUPT_EVERY: Duration = Duration::from_millis(100);

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The node said so; or, for the states only the supervisor knows, the supervisor did.
    Control(FromNode),
    /// A line of the node's log.
    Log(String),
    /// The node's process ended that nobody had told to.
    Crashed(CrashReport),
}

/// What the node's own engine says of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The leader's id.
    pub id: u64,
    /// The leader's address.
    pub address: String,
}

/// The engine that a node runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// The library.
    pub path: String,
    /// Its version.
    pub version: String,
    /// The bundle it came from, if it came from one.
    pub bundle: Option<String>,
    /// Symbols that this library lacks.
    pub missing: Vec<String>,
}

/// How a node stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Whether leadership was given away first.
    pub handed_over: bool,
    /// The leader afterwards, as far as the node knew.
    pub leader: Option<String>,
    /// Connections that ended in peace.
    pub drained: u64,
    /// How long the stop took.
    pub took: Duration,
    /// Whether the process had to be killed.
    pub killed: bool,
    /// How the process ended; empty if there was none.
    pub ending: String,
}

/// Why a node is down for good.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) text: String,
    pub(crate) tried: Vec<Tried>,
    /// The process could not even be started.
    pub(crate) launch: bool,
}

/// How the last run ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Stopped(Stopped),
    Failed(Failure),
}

/// How a run shall end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopOrder {
    pub(crate) asked: Instant,
    pub(crate) deadline: Instant,
    pub(crate) handover: bool,
}

/// How far a process of the node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    Launched,
    /// It has said which version it is.
    Greeted,
    /// Clients can connect.
    Serving,
    /// It was in state `ready` once.
    Ready,
}

/// The last known facts.
#[derive(Debug)]
pub(crate) struct View {
    /// A supervisor is at work.
    pub(crate) running: bool,
    pub(crate) end: Option<End>,
    pub(crate) state: State,
    pub(crate) why: String,
    pub(crate) missing: Vec<Missing>,
    pub(crate) progress: Progress,
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u32,
    /// The last crash of this run.
    pub(crate) crash: Option<CrashReport>,
    pub(crate) id: Option<u64>,
    pub(crate) bind: Option<String>,
    pub(crate) unix: Option<String>,
    pub(crate) leader: Option<Leader>,
    pub(crate) members: Vec<NodeInfo>,
    pub(crate) role: Option<Role>,
    pub(crate) engine: Option<EngineInfo>,
    /// When the process last showed that it lives.
    pub(crate) beat: Option<Instant>,
    pub(crate) stop: Option<StopOrder>,
    pub(crate) requests: Vec<ToNode>,
    /// Who waits for which answer.
    pub(crate) answers: HashMap<u32, Option<Answer>>,
    pub(crate) numbers: u32,
    subscribers: Vec<SyncSender<Event>>,
    wake: Option<PipeWriter>,
}

/// The view behind its lock.
#[derive(Debug)]
pub(crate) struct Shared {
    view: Mutex<View>,
    changed: Condvar,
    /// Descriptors that the copy of a forked process has to close; -1 = none.
    control_fds: [AtomicI32; 4],
}

impl Shared {
    pub(crate) fn new(id: Option<u64>) -> Self {
        let view = View {
            running: false,
            end: None,
            state: State::Stopped,
            why: String::new(),
            missing: Vec::new(),
            progress: Progress::Launched,
            pid: None,
            restarts: 0,
            crash: None,
            id,
            bind: None,
            unix: None,
            leader: None,
            members: Vec::new(),
            role: None,
            engine: None,
            beat: None,
            stop: None,
            requests: Vec::new(),
            answers: HashMap::new(),
            numbers: 0,
            subscribers: Vec::new(),
            wake: None,
        };
        Self {
            view: Mutex::new(view),
            changed: Condvar::new(),
            control_fds: [const { AtomicI32::new(-1) }; 4],
        }
    }

    /// The facts now. A panic elsewhere leaves them as they were: they are still the last known.
    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the facts and wakes whoever waits for a change.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        let changed = change(&mut self.view());
        self.changed.notify_all();
        changed
    }

    /// Waits until `found` finds something, the deadline passed (`None`), or `interrupt` says so.
    pub(crate) fn wait<T>(
        &self,
        deadline: impl Fn(&View) -> Instant,
        interrupt: &mut dyn FnMut() -> bool,
        mut found: impl FnMut(&mut View) -> Option<T>,
    ) -> Waited<T> {
        let mut view = self.view();
        loop {
            if let Some(it) = found(&mut view) {
                return Waited::Found(it);
            }
            let left = deadline(&view).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Waited::TimedOut;
            }
            let slice = left.min(INTERRUPT_EVERY);
            view = self
                .changed
                .wait_timeout(view, slice)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            drop(view);
            if interrupt() {
                return Waited::Interrupted;
            }
            view = self.view();
        }
    }

    pub(crate) fn subscribe(&self) -> Receiver<Event> {
        let (sender, receiver) = sync_channel(EVENTS_MAX);
        self.view().subscribers.push(sender);
        receiver
    }

    /// Remembers the descriptors of the control channel, in place of those known before.
    pub(crate) fn remember(&self, fds: impl Iterator<Item = RawFd>) {
        let fds = fds.map(Some).chain(std::iter::repeat(None));
        for (slot, fd) in self.control_fds.iter().zip(fds) {
            slot.store(fd.unwrap_or(-1), Ordering::Release);
        }
    }

    /// In the copy of a forked process: lets go of the control channel without a word on it, so
    /// that the node sees its end when the process that owns it dies.
    pub(crate) fn close_control(&self) {
        for slot in &self.control_fds {
            let fd = slot.swap(-1, Ordering::AcqRel);
            if fd >= 0 {
                // The copy has nobody to tell.
                let _unreported = nix::unistd::close(fd);
            }
        }
    }
}

/// What came of a wait.
#[derive(Debug)]
pub(crate) enum Waited<T> {
    Found(T),
    TimedOut,
    Interrupted,
}

impl View {
    /// Opens a run; whatever the last one left behind is forgotten.
    pub(crate) fn open(&mut self, wake: PipeWriter) {
        self.running = true;
        self.end = None;
        self.restarts = 0;
        self.crash = None;
        self.stop = None;
        self.wake = Some(wake);
        self.reset();
    }

    /// Closes the run.
    pub(crate) fn close(&mut self, end: End) {
        self.reset();
        let (state, why) = match &end {
            End::Stopped(stopped) => (State::Stopped, stopped.ending.clone()),
            End::Failed(failure) if failure.stage == Stage::Removed => {
                (State::Removed, failure.text.clone())
            }
            End::Failed(failure) => (State::Failed, failure.text.clone()),
        };
        self.enter(state, &why);
        self.running = false;
        self.wake = None;
        self.stop = None;
        self.end = Some(end);
    }

    /// Forgets what was true of one process only.
    pub(crate) fn reset(&mut self) {
        self.progress = Progress::Launched;
        self.pid = None;
        self.leader = None;
        self.role = None;
        self.missing.clear();
        self.beat = None;
        self.requests.clear();
        self.answers.clear();
    }

    /// Tells the supervisor that there is something to do.
    pub(crate) fn wake(&mut self) {
        if let Some(wake) = &mut self.wake {
            // A full pipe wakes, too.
            let _full = wake.write(&[1]);
        }
    }

    /// A state that the supervisor decides.
    pub(crate) fn enter(&mut self, to: State, why: &str) {
        let from = std::mem::replace(&mut self.state, to);
        why.clone_into(&mut self.why);
        if from != to {
            let why = why.to_owned();
            let missing = Vec::new();
            self.publish(&Event::Control(FromNode::State {
                from,
                to,
                why,
                missing,
            }));
        }
    }

    fn reach(&mut self, progress: Progress) {
        self.progress = self.progress.max(progress);
    }

    /// What the node said.
    pub(crate) fn learn(&mut self, said: FromNode) {
        self.publish(&Event::Control(said.clone()));
        match said {
            FromNode::Hello { .. } => self.reach(Progress::Greeted),
            FromNode::Engine {
                path,
                version,
                bundle,
                missing,
            } => {
                self.engine = Some(EngineInfo {
                    path,
                    version,
                    bundle,
                    missing,
                });
            }
            FromNode::Serving { bind, unix, .. } => {
                self.reach(Progress::Serving);
                self.bind = Some(bind);
                self.unix = unix;
            }
            FromNode::State {
                to, why, missing, ..
            } => {
                self.state = to;
                self.why = why;
                self.missing = missing;
            }
            FromNode::Identity { id, .. } => self.id = Some(id),
            FromNode::Leader { id, address, .. } => {
                self.leader = (id != 0).then_some(Leader { id, address });
            }
            FromNode::Members { list, .. } => {
                self.members = list.into_iter().map(NodeInfo::from).collect();
            }
            FromNode::Role { role, .. } => self.role = Some(role.into()),
            FromNode::Ready { .. } => self.reach(Progress::Ready),
            FromNode::Reply { n, answer } => {
                if let Some(waiting) = self.answers.get_mut(&n) {
                    *waiting = Some(answer);
                }
            }
            _ => {}
        }
    }

    /// Tells the subscribers; one that is behind misses the event, one that is gone is forgotten.
    pub(crate) fn publish(&mut self, event: &Event) {
        self.subscribers.retain(|subscriber| {
            let sent = subscriber.try_send(event.clone());
            !matches!(sent, Err(TrySendError::Disconnected(_)))
        });
    }
}
