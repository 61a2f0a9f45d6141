//! The thread that owns a node's process: starts it, listens, restarts it, ends it.
//!
//! ```text
//!        spawn                 ended by itself            restart.rs
//! ──► one process ──► life.rs ───────────────► decide ──► wait ──► spawn again
//!                        │ stop ordered           └─────► give up: failed
//!                        └──────────► stopped
//! ```
//!
//! The thread lives as long as the process does, because the kernel's parent-death signal fires
//! when the *thread* that started a process ends.

use std::io::{PipeReader, PipeWriter, Read as _, pipe};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::child::{Process, Tail};
use crate::control::{App, Options, Stage, State, exit};
use crate::crash::{CrashReport, in_flight};
use crate::launch::Launch;
use crate::life::{Life, Report};
use crate::restart::{self, Ending, Policy, Verdict};
use crate::view::{End, Event, Failure, Shared, Stopped};

/// Lines of the log that a failure quotes.
const QUOTED_LINES_MAX: usize = 20;

/// What a supervisor needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) launch: Launch,
    pub(crate) options: Options,
    pub(crate) app: App,
    pub(crate) start_timeout: Duration,
    pub(crate) policy: Policy,
}

/// A supervisor at work.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    plan: Plan,
    wake: PipeReader,
    log: Tail,
}

/// Opens a run in `shared` and starts its thread.
pub(crate) fn start(shared: &Arc<Shared>, plan: Plan) -> std::io::Result<JoinHandle<()>> {
    let (wake, waker) = wake_pipe()?;
    shared.change(|view| view.open(waker));
    let supervisor = Supervisor {
        shared: Arc::clone(shared),
        plan,
        wake,
        log: Tail::default(),
    };
    let thread = thread::Builder::new().name("dqlite-node".into());
    thread.spawn(move || supervisor.run()).inspect_err(|error| {
        let text = format!("start a thread: {error}");
        shared.change(|view| view.close(End::Failed(unlaunched(text))));
    })
}

impl Supervisor {
    fn run(mut self) {
        let mut closing = Closing {
            shared: Arc::clone(&self.shared),
            end: None,
        };
        closing.end = Some(self.lives());
    }

    fn lives(&mut self) -> End {
        let mut history = Vec::new();
        let mut first = true;
        loop {
            let born = Instant::now();
            let report = match self.live() {
                Ok(report) => report,
                Err(error) if first => {
                    let executable = self.plan.launch.executable.display();
                    return End::Failed(unlaunched(format!("start {executable}: {error}")));
                }
                Err(error) => Report::unstarted(&error),
            };
            let died = Instant::now();
            if let Some(order) = self.shared.view().stop {
                return End::Stopped(stopped(&report, order.asked.elapsed()));
            }
            let said_bye = report.bye.is_some();
            if said_bye && matches!(report.ending, Ending::Status(exit::CLEAN | exit::REMOVED)) {
                return End::Stopped(stopped(&report, Duration::ZERO));
            }
            if report.ending.is_crash() {
                self.tell_of(&report);
            }
            if first && !report.served {
                return End::Failed(self.failure(&report, &report.ending.to_string()));
            }
            first = false;
            history.push(restart::Life {
                born,
                died,
                ending: report.ending,
            });
            match restart::decide(&history, self.plan.policy, fastrand::f64() * 2.0 - 1.0) {
                Verdict::GiveUp(reason) => return End::Failed(self.failure(&report, &reason)),
                Verdict::Wait(delay) => self.wait_to_restart(&report, delay),
            }
            restart::forget(&mut history);
            if let Some(order) = self.shared.view().stop {
                return End::Stopped(stopped(&report, order.asked.elapsed()));
            }
        }
    }

    /// From the start of a process to its end.
    fn live(&mut self) -> std::io::Result<Report> {
        let process = Process::spawn(&self.plan.launch)?;
        let fds = process.fds().map(|fd| fd.as_raw_fd());
        self.shared.remember(fds.chain([self.wake.as_raw_fd()]));
        self.shared.change(|view| {
            view.reset();
            view.pid = Some(process.pid());
            view.enter(State::Starting, "");
        });
        let report = Life::new(process, &self.shared, &self.plan, &mut self.log).run(&self.wake);
        self.shared.remember(std::iter::empty());
        Ok(report)
    }

    /// Tells everybody of a crash, whatever is done about it.
    fn tell_of(&self, report: &Report) {
        let said = report.fatal.as_ref().map(|fatal| fatal.text.clone());
        let crash = CrashReport {
            ending: report.ending.to_string(),
            evidence: report.verdict.clone().or(said),
            suspects: report.suspects.clone(),
            log: self.log.last(QUOTED_LINES_MAX),
        };
        tracing::error!(target: "dqlite::node", "crash_report: {crash}");
        self.shared.change(|view| {
            view.publish(&Event::Crashed(crash.clone()));
            view.crash = Some(crash);
        });
    }

    fn wait_to_restart(&self, report: &Report, delay: Duration) {
        let ending = report.ending;
        tracing::warn!(target: "dqlite::node", "node ended: {ending}; restart in {delay:?}");
        self.shared.change(|view| {
            view.reset();
            view.restarts += 1;
            view.enter(State::Restarting, &report.ending.to_string());
        });
        let until = Instant::now() + delay;
        while self.shared.view().stop.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1));
            let mut fds = [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
            // An interrupted wait is measured again by the loop.
            let _woken = poll(&mut fds, timeout.unwrap_or(PollTimeout::MAX));
            drain(&self.wake);
        }
    }

    fn failure(&self, report: &Report, reason: &str) -> Failure {
        let looped = restart::is_loop(reason);
        if let Some(fatal) = report.fatal.as_ref().filter(|_| !looped) {
            return fatal.clone();
        }
        let stranger = !report.greeted && report.verdict.is_none() && report.fatal.is_none();
        let reason = if stranger {
            let executable = self.plan.launch.executable.display();
            format!("{executable} is not a dqlite executable, or not one of this machine: {reason}")
        } else {
            reason.to_owned()
        };
        let said = report.fatal.as_ref().map(|fatal| &fatal.text);
        let mut text = match said.or(report.verdict.as_ref()) {
            Some(said) if looped => format!("{reason}: {said}"),
            Some(said) => said.clone(),
            None => reason,
        };
        if looped {
            text.push_str(&in_flight(&report.suspects));
            text.push_str("; nothing was removed from its data directory: start tries again");
        }
        let quoted = self.log.last(QUOTED_LINES_MAX);
        if !quoted.is_empty() {
            text.push_str("; the end of its log:\n  ");
            text.push_str(&quoted.join("\n  "));
        }
        Failure {
            stage: report.stage,
            text,
            tried: Vec::new(),
            launch: stranger,
        }
    }
}

/// Takes all wake-ups at once.
pub(crate) fn drain(mut wake: &PipeReader) {
    let mut bytes = [0; 64];
    while wake.read(&mut bytes).is_ok_and(|read| read == bytes.len()) {}
}

/// Closes the run when the supervisor's thread ends, whatever ended it: waiters must not hang.
struct Closing {
    shared: Arc<Shared>,
    end: Option<End>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        let bug = || {
            End::Failed(unlaunched(
                "the supervisor panicked: a bug of dqlite".into(),
            ))
        };
        let end = self.end.take().unwrap_or_else(bug);
        self.shared.change(|view| view.close(end));
    }
}

fn unlaunched(text: String) -> Failure {
    Failure {
        stage: Stage::Other,
        text,
        tried: Vec::new(),
        launch: true,
    }
}

fn stopped(report: &Report, took: Duration) -> Stopped {
    let bye = report.bye.clone().unwrap_or_default();
    Stopped {
        handed_over: bye.handed_over,
        leader: bye.leader,
        drained: bye.drained,
        took,
        killed: matches!(report.ending, Ending::Signal(_)),
        ending: report.ending.to_string(),
    }
}

fn wake_pipe() -> std::io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = pipe()?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}
