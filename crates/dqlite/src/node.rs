//! A node of the cluster, supervised from this process.

use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::builder::NodeBuilder;
use crate::control::{Answer, HandedOver, Stage, State, ToNode, Tried};
use crate::node_error::NodeError;
use crate::settings::Settings;
use crate::supervisor;
use crate::view::{End, Failure, Progress, Shared, StopOrder, Stopped, View, Waited};

/// How many times `start_timeout` a start may take while the node shows that it is loading.
const LOADING_FACTOR: u32 = 10;
/// After the bound of a stop: SIGTERM, SIGKILL, and the kernel's own time.
const KILL_GRACE: Duration = Duration::from_millis(2500);

/// A node: one supervised process that hosts the engine, and what is known of it.
///
/// All methods may be called from any thread. Dropping the node stops it. In a process that was
/// forked from the owner every call is refused, and dropping does nothing.
///
/// ```no_run
/// # fn main() -> Result<(), dqlite::NodeError> {
/// let node = dqlite::Node::builder("127.0.0.1:9001", "data/n1").start()?;
/// println!("{} is {}", node.address(), node.state().name());
/// let stopped = node.stop()?;
/// println!("stopped in {:?}", stopped.took);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Node {
    pub(crate) settings: Settings,
    pub(crate) shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    owner: u32,
    abandoned: AtomicBool,
}

/// Never interrupts.
pub(crate) fn patient() -> bool {
    false
}

impl Node {
    /// Begins the description of a node that others dial at `address` (`HOST:PORT`) and that
    /// stores everything in `data_dir`.
    pub fn builder(address: impl Into<String>, data_dir: impl AsRef<Path>) -> NodeBuilder {
        NodeBuilder::new(address.into(), data_dir.as_ref())
    }

    pub(crate) fn new(settings: Settings) -> Self {
        let shared = Shared::new(settings.known_id());
        Self {
            settings,
            shared: Arc::new(shared),
            thread: Mutex::new(None),
            owner: process::id(),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Starts the node, and returns when it serves, after up to `ready_grace` more until it is
    /// ready. [`state`](Self::state) tells which of the two.
    ///
    /// Takes at most the option `start_timeout`, plus the time in which the node shows that it
    /// loads its data. When this fails nothing is left behind.
    pub fn start(&self) -> Result<(), NodeError> {
        self.start_within(self.settings.start_timeout, &mut patient)
    }

    /// [`start`](Self::start) with another bound. `interrupt` is asked every 100 ms; when it says
    /// so the start is undone and the answer is [`NodeError::Interrupted`].
    pub fn start_within(
        &self,
        timeout: Duration,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<(), NodeError> {
        self.check_owner()?;
        let begun = Instant::now();
        {
            let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
            if self.shared.view().running {
                let address = self.address().to_owned();
                return Err(NodeError::AlreadyRunning { address });
            }
            join(thread.take());
            let plan = self.settings.plan(timeout)?;
            let started = supervisor::start(&self.shared, plan);
            *thread = Some(started.map_err(|error| NodeError::Launch {
                text: format!("start the supervisor: {error}"),
                tried: Vec::new(),
            })?);
        }
        self.await_serving(begun, timeout, interrupt)?;
        let grace = Instant::now() + self.settings.ready_grace;
        let ready = |view: &mut View| match &view.end {
            Some(end) => Some(Err(end.clone())),
            None => (view.progress == Progress::Ready || view.stop.is_some()).then_some(Ok(())),
        };
        match self.shared.wait(|_| grace, interrupt, ready) {
            Waited::Found(Err(End::Failed(failure))) => Err(self.failed(failure)),
            Waited::Found(Err(End::Stopped(_))) => {
                Err(self.not_running("it was stopped meanwhile"))
            }
            Waited::Found(Ok(())) | Waited::TimedOut => Ok(()),
            Waited::Interrupted => {
                self.stop_within(Duration::ZERO, &mut patient)?;
                Err(NodeError::Interrupted)
            }
        }
    }

    fn await_serving(
        &self,
        begun: Instant,
        timeout: Duration,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<(), NodeError> {
        let deadline = |view: &View| match view.beat.filter(|_| view.engine.is_some()) {
            Some(beat) => (beat + timeout).min(begun + timeout.saturating_mul(LOADING_FACTOR)),
            None => begun + timeout,
        };
        let serving = |view: &mut View| match &view.end {
            Some(end) => Some(Err(end.clone())),
            None => (view.progress >= Progress::Serving).then_some(Ok(())),
        };
        match self.shared.wait(deadline, interrupt, serving) {
            Waited::Found(Ok(())) => Ok(()),
            Waited::Found(Err(End::Failed(failure))) => Err(self.failed(failure)),
            Waited::Found(Err(End::Stopped(_))) => {
                Err(self.not_running("it was stopped meanwhile"))
            }
            Waited::TimedOut => {
                let (state, greeted) = {
                    let view = self.shared.view();
                    (view.state.name(), view.progress >= Progress::Greeted)
                };
                self.stop_within(Duration::ZERO, &mut patient)?;
                let text = if greeted {
                    format!("did not serve within {timeout:?}, its state was {state}")
                } else {
                    let named = self.settings.named_executable();
                    format!("{named} said nothing within {timeout:?}: is it a dqlite executable?")
                };
                Err(self.failed(Failure {
                    stage: Stage::Start,
                    text,
                    tried: Vec::new(),
                    launch: !greeted,
                }))
            }
            Waited::Interrupted => {
                self.stop_within(Duration::ZERO, &mut patient)?;
                Err(NodeError::Interrupted)
            }
        }
    }

    /// Waits until the node is ready: a member with a settled role that knows the leader. If it
    /// is not in time the node keeps running, and the error says who is missing and why.
    pub fn wait_ready(&self, timeout: Duration) -> Result<(), NodeError> {
        self.wait_ready_within(timeout, &mut patient)
    }

    /// [`wait_ready`](Self::wait_ready), given up when `interrupt` says so.
    pub fn wait_ready_within(
        &self,
        timeout: Duration,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<(), NodeError> {
        self.check_owner()?;
        let deadline = Instant::now() + timeout;
        let ready = |view: &mut View| {
            if !view.running {
                return Some(Err(self.end_of(view)));
            }
            (view.state == State::Ready).then_some(Ok(()))
        };
        match self.shared.wait(|_| deadline, interrupt, ready) {
            Waited::Found(outcome) => outcome,
            Waited::TimedOut => Err(self.not_ready(&self.shared.view())),
            Waited::Interrupted => Err(NodeError::Interrupted),
        }
    }

    /// Stops the node: leadership is given away, clients are let go, the engine is stopped. Takes
    /// at most the option `stop_timeout`; then the process is killed.
    ///
    /// Idempotent, and safe from any thread at any time: a node that does not run answers with
    /// how it stopped last. The one error besides a forked process is a process that the kernel
    /// does not let die.
    pub fn stop(&self) -> Result<Stopped, NodeError> {
        self.stop_within(self.settings.stop_timeout, &mut patient)
    }

    /// [`stop`](Self::stop) with another bound; a bound of zero kills at once. When `interrupt`
    /// says so the wait is given up, and the stop goes on.
    pub fn stop_within(
        &self,
        timeout: Duration,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<Stopped, NodeError> {
        self.check_owner()?;
        let asked = Instant::now();
        let deadline = asked + timeout;
        self.shared.change(|view| {
            if view.running {
                let handover = self.settings.handover_on_stop;
                let mut order = StopOrder {
                    asked,
                    deadline,
                    handover,
                };
                if let Some(before) = view.stop {
                    order.asked = before.asked;
                    order.deadline = deadline.min(before.deadline);
                }
                view.stop = Some(order);
                view.wake();
            }
        });
        let ended = |view: &mut View| (!view.running).then(|| view.end.clone());
        match self
            .shared
            .wait(|_| deadline + KILL_GRACE, interrupt, ended)
        {
            Waited::Found(end) => {
                self.reap_thread();
                Ok(match end {
                    Some(End::Stopped(stopped)) => stopped,
                    Some(End::Failed(failure)) => Stopped {
                        ending: failure.text,
                        ..Stopped::default()
                    },
                    None => Stopped::default(),
                })
            }
            Waited::TimedOut => Err(NodeError::Stop {
                address: self.address().to_owned(),
                pid: self.shared.view().pid.unwrap_or_default(),
            }),
            Waited::Interrupted => Err(NodeError::Interrupted),
        }
    }

    /// Gives leadership away to another voter, within `timeout`; with `roles` the voter's seat,
    /// too. Nothing is done if this node does not lead.
    pub fn handover(&self, timeout: Duration, roles: bool) -> Result<HandedOver, NodeError> {
        self.handover_within(timeout, roles, &mut patient)
    }

    /// [`handover`](Self::handover), no longer waited for when `interrupt` says so.
    pub fn handover_within(
        &self,
        timeout: Duration,
        roles: bool,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<HandedOver, NodeError> {
        let deadline_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        // The node says "too late" itself; the answer needs its time.
        let deadline = Instant::now() + timeout + Duration::from_secs(1);
        let request = |n| ToNode::Handover {
            n,
            roles,
            deadline_ms,
        };
        let answer = self.request(request, deadline, interrupt)?;
        serde_json::from_value(answer).map_err(|reason| NodeError::Refused {
            address: self.address().to_owned(),
            code: "answer".into(),
            text: format!("answer to handover not understood: {reason}"),
        })
    }

    /// Takes the node out of its cluster for good, within `timeout`: seat and leadership go to
    /// others, then it is removed and stops by itself. Its directory does not start again.
    ///
    /// Refused while the others cannot do without this node; then it stays a member.
    pub fn leave(&self, timeout: Duration) -> Result<(), NodeError> {
        self.leave_within(timeout, &mut patient)
    }

    /// [`leave`](Self::leave), no longer waited for when `interrupt` says so.
    pub fn leave_within(
        &self,
        timeout: Duration,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<(), NodeError> {
        let deadline_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        // The node says "too late" itself; the answer needs its time.
        let deadline = Instant::now() + timeout + Duration::from_secs(1);
        let leave = |n| ToNode::Leave { n, deadline_ms };
        self.request(leave, deadline, interrupt).map(drop)
    }

    /// The node's own account of itself, as a JSON document, within `timeout`.
    pub fn status(&self, timeout: Duration) -> Result<Value, NodeError> {
        self.request(
            |n| ToNode::Status { n },
            Instant::now() + timeout,
            &mut patient,
        )
    }

    /// Asks the node something, and waits for the answer.
    pub(crate) fn request(
        &self,
        request: impl FnOnce(u32) -> ToNode,
        deadline: Instant,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<Value, NodeError> {
        self.check_owner()?;
        let n = self.shared.change(|view| {
            if view.progress < Progress::Serving || view.stop.is_some() {
                return Err(self.end_of(view));
            }
            view.numbers += 1;
            let n = view.numbers;
            view.answers.insert(n, None);
            view.requests.push(request(n));
            view.wake();
            Ok(n)
        })?;
        let answered = |view: &mut View| match view.answers.get(&n) {
            None => Some(Err(self.end_of(view))),
            Some(None) => None,
            Some(Some(_)) => view.answers.remove(&n).flatten().map(Ok),
        };
        let refused = |code: &str, text: String| NodeError::Refused {
            address: self.address().to_owned(),
            code: code.into(),
            text,
        };
        let answer = match self.shared.wait(|_| deadline, interrupt, answered) {
            Waited::Found(answer) => answer?,
            Waited::TimedOut => {
                self.shared.view().answers.remove(&n);
                return Err(refused("timeout", "no answer in time".into()));
            }
            Waited::Interrupted => {
                self.shared.view().answers.remove(&n);
                return Err(NodeError::Interrupted);
            }
        };
        match answer {
            Answer::Ok(value) => Ok(value),
            Answer::Error(refusal) => Err(refused(&refusal.code, refusal.text)),
        }
    }
}

/// What a forked process may do.
impl Node {
    /// For the hook that runs in a forked process: lets go of the node's pipes without a word, so
    /// that the node still sees its owner die. Every other call does the same on its way out.
    pub fn after_fork(&self) {
        if process::id() != self.owner && !self.abandoned.swap(true, Ordering::AcqRel) {
            self.shared.close_control();
        }
    }

    pub(crate) fn check_owner(&self) -> Result<(), NodeError> {
        if process::id() == self.owner {
            return Ok(());
        }
        self.after_fork();
        Err(NodeError::Forked {
            address: self.address().to_owned(),
            owner: self.owner,
        })
    }
}

impl Node {
    /// Waits for the thread of a run that is over, so that a stop leaves nothing behind.
    fn reap_thread(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have started the node again.
        if !self.shared.view().running {
            join(thread.take());
        }
    }

    pub(crate) fn check_running(&self) -> Result<(), NodeError> {
        self.check_owner()?;
        let view = self.shared.view();
        if view.running {
            Ok(())
        } else {
            Err(self.end_of(&view))
        }
    }

    fn failed(&self, failure: Failure) -> NodeError {
        let Failure {
            stage,
            text,
            tried,
            launch,
        } = failure;
        let address = self.address().to_owned();
        match stage {
            _ if launch => NodeError::Launch { text, tried },
            Stage::Locate => NodeError::EngineNotFound { text, tried },
            stage => NodeError::Start {
                address,
                stage,
                text,
                tried,
            },
        }
    }

    fn not_running(&self, reason: &str) -> NodeError {
        NodeError::NotRunning {
            address: self.address().to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// Why a call that needs a running node cannot be served.
    fn end_of(&self, view: &View) -> NodeError {
        let state = view.state.name();
        match view.why.as_str() {
            "" => self.not_running(state),
            why => self.not_running(&format!("{state}: {why}")),
        }
    }

    fn not_ready(&self, view: &View) -> NodeError {
        let tried = view.missing.iter().map(|missing| Tried {
            place: missing.address.clone(),
            reason: missing.reason.clone(),
        });
        let state = view.state.name();
        NodeError::NotReady {
            address: self.address().to_owned(),
            reason: match view.why.as_str() {
                "" => state.to_owned(),
                why => format!("{state}: {why}"),
            },
            tried: tried.collect(),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.check_owner().is_ok() {
            // Nobody is left to hear of a process that the kernel does not let die.
            let _stopped = self.stop();
            return;
        }
        // The thread exists in the owner only: there is nothing to join or to detach.
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::forget(thread.take());
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        // It reported its panic by closing the run.
        let _panicked = thread.join();
    }
}
