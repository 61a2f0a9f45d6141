//! One process from its start to its end: what it says, what it is told, and when it is killed.

use std::io::PipeReader;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use dqlite_client::proto::suspects::Suspects;
use nix::sys::signal::Signal;

use crate::child::{Heard, Process, Tail};
use crate::control::{FromNode, Received, Stage, ToNode, VERSION};
use crate::crash::Notes;
use crate::restart::Ending;
use crate::supervisor::{Plan, drain};
use crate::view::{Event, Failure, Shared, StopOrder};

/// A node that beat once and then sends no beat for this long is wedged.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// The longest wait; longer gaps mean that this process itself did not run.
const TICK: Duration = Duration::from_secs(1);
const PAUSED_AFTER: Duration = Duration::from_secs(2);
/// Between SIGTERM and SIGKILL, for a process that was asked to stop before, and for a wedged one.
const TERM_AFTER_STOP: Duration = Duration::from_millis(500);
const TERM_AFTER_SILENCE: Duration = Duration::from_secs(1);
/// How long a process may live on after it closed its side of the control channel.
const MUTE_MAX: Duration = Duration::from_secs(1);
const MUTE_TICK: Duration = Duration::from_millis(2);

/// How one process ended, and what it said about it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) ending: Ending,
    /// It said which version it is.
    pub(crate) greeted: bool,
    /// It accepted connections at some time.
    pub(crate) served: bool,
    /// The step it was at, as far as can be told from outside.
    pub(crate) stage: Stage,
    /// What ended it, if that was decided here.
    pub(crate) verdict: Option<String>,
    pub(crate) fatal: Option<Failure>,
    pub(crate) bye: Option<Bye>,
    /// What its engine was at when it ended.
    pub(crate) suspects: Suspects,
}

/// The last line of a clean stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bye {
    pub(crate) handed_over: bool,
    pub(crate) leader: Option<String>,
    pub(crate) drained: u64,
}

impl Report {
    pub(crate) fn unstarted(error: &std::io::Error) -> Self {
        Self {
            ending: Ending::Unknown,
            greeted: false,
            served: false,
            stage: Stage::Other,
            verdict: Some(format!("start the process: {error}")),
            fatal: None,
            bye: None,
            suspects: Suspects::default(),
        }
    }
}

/// How far the end of a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It lives and nobody objects.
    Free,
    /// It was asked to stop; SIGTERM is due then.
    Asked(Instant),
    /// SIGTERM was sent; SIGKILL is due then.
    Terminated(Instant),
    /// Nothing more can be done.
    Killed,
}

/// A process that lives.
pub(crate) struct Life<'a> {
    process: Process,
    shared: &'a Shared,
    plan: &'a Plan,
    log: &'a mut Tail,
    born: Instant,
    fate: Fate,
    configured: bool,
    silent: bool,
    mute_since: Option<Instant>,
    report: Report,
    notes: Option<Notes>,
}

impl<'a> Life<'a> {
    pub(crate) fn new(
        process: Process,
        shared: &'a Shared,
        plan: &'a Plan,
        log: &'a mut Tail,
    ) -> Self {
        Self {
            process,
            shared,
            plan,
            log,
            born: Instant::now(),
            fate: Fate::Free,
            configured: false,
            silent: false,
            mute_since: None,
            report: Report {
                ending: Ending::Unknown,
                greeted: false,
                served: false,
                stage: Stage::Other,
                verdict: None,
                fatal: None,
                bye: None,
                suspects: Suspects::default(),
            },
            notes: None,
        }
    }

    /// Acts until the process is reaped.
    pub(crate) fn run(mut self, wake: &PipeReader) -> Report {
        let mut before = Instant::now();
        loop {
            if let Some(ending) = self.process.ended() {
                self.listen();
                self.report.ending = if self.silent { Ending::Silent } else { ending };
                self.report.suspects = self.notes.map(|notes| notes.read()).unwrap_or_default();
                return self.report;
            }
            let now = Instant::now();
            if now.duration_since(before) > PAUSED_AFTER {
                self.excuse(now);
            }
            before = now;
            self.obey(now);
            self.watch(now);
            self.press(now);
            let at_most = self.next_due(now);
            if let Err(error) = self.process.wait(wake.as_fd(), at_most) {
                self.condemn(&format!("control channel: {error}"));
            }
            drain(wake);
            self.listen();
        }
    }

    /// Hears everything that was said.
    fn listen(&mut self) {
        while let Some(heard) = self.process.hear() {
            match heard {
                Heard::Log(line) => self.note(line),
                Heard::Line(Received::Message(message)) => self.understand(message),
                Heard::Line(Received::Unreadable(why)) => {
                    let why = why.reason;
                    tracing::warn!(target: "dqlite::node", "control line not understood: {why}");
                }
            }
        }
    }

    fn note(&mut self, line: String) {
        tracing::info!(target: "dqlite::node", "{line}");
        self.shared.view().publish(&Event::Log(line.clone()));
        self.log.push(line);
    }

    fn understand(&mut self, message: FromNode) {
        match &message {
            FromNode::Hello {
                control,
                version,
                in_flight,
                ..
            } => {
                self.report.greeted = true;
                self.notes = in_flight.and_then(|descriptor| self.open_notes(descriptor));
                if !control.contains(&VERSION) {
                    let spoken = control
                        .iter()
                        .map(u32::to_string)
                        .collect::<Vec<_>>()
                        .join(", ");
                    let executable = self.plan.launch.executable.display();
                    self.report.stage = Stage::Config;
                    self.condemn(&format!(
                        "{executable} {version} speaks control versions {spoken}, \
                         this library speaks {VERSION}"
                    ));
                } else if !self.configured {
                    self.configure();
                }
            }
            FromNode::Engine { .. } => self.report.stage = Stage::Start,
            FromNode::Serving { .. } => self.report.served = true,
            FromNode::Beat { .. } => self.shared.view().beat = Some(Instant::now()),
            FromNode::Watchdog { verdict, evidence } => {
                let told = || format!("{verdict}: {evidence}");
                self.report.verdict.get_or_insert_with(told);
            }
            FromNode::Fatal {
                stage, text, tried, ..
            } => {
                self.report.fatal = Some(Failure {
                    stage: *stage,
                    text: text.clone(),
                    tried: tried.clone(),
                    launch: false,
                });
            }
            FromNode::Bye {
                handed_over,
                leader,
                drained,
                ..
            } => {
                self.report.bye = Some(Bye {
                    handed_over: *handed_over,
                    leader: leader.clone(),
                    drained: *drained,
                });
            }
            _ => {}
        }
        self.shared.change(|view| view.learn(message));
    }

    fn open_notes(&self, descriptor: i32) -> Option<Notes> {
        let opened = Notes::open(self.process.pid(), descriptor);
        let untold = |error: &std::io::Error| {
            tracing::debug!(target: "dqlite::node", "a crash will name no statements: {error}");
        };
        opened.inspect_err(untold).ok()
    }

    fn configure(&mut self) {
        self.configured = true;
        self.report.stage = Stage::Load;
        let config = ToNode::Config {
            v: VERSION,
            options: self.plan.options.clone(),
            app: self.plan.app.clone(),
        };
        if let Err(error) = self.process.send(&config) {
            self.condemn(&format!("send the configuration: {error}"));
        }
    }

    /// Does what the application ordered.
    fn obey(&mut self, now: Instant) {
        let (stop, requests) = {
            let mut view = self.shared.view();
            (view.stop, std::mem::take(&mut view.requests))
        };
        for request in requests {
            if let Err(error) = self.process.send(&request) {
                tracing::warn!(target: "dqlite::node", "request not sent: {error}");
            }
        }
        match (stop, self.fate) {
            (Some(order), Fate::Free) => self.ask_to_stop(order, now),
            (Some(order), Fate::Asked(until)) => self.fate = Fate::Asked(until.min(order.deadline)),
            _ => {}
        }
    }

    fn ask_to_stop(&mut self, order: StopOrder, now: Instant) {
        if !self.configured {
            self.terminate(now + TERM_AFTER_STOP);
            return;
        }
        // The node's own bound ends before ours, so that it can say goodbye.
        let left = order.deadline.saturating_duration_since(now).mul_f64(0.9);
        let stop = ToNode::Stop {
            n: 0,
            handover: order.handover,
            deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        };
        self.fate = match self.process.send(&stop) {
            Ok(()) => Fate::Asked(order.deadline),
            Err(_) => Fate::Asked(now),
        };
    }

    /// Looks for signs of life.
    fn watch(&mut self, now: Instant) {
        if self.process.is_mute() {
            let since = *self.mute_since.get_or_insert(now);
            if now.duration_since(since) >= MUTE_MAX && self.fate != Fate::Killed {
                self.kill();
            }
        }
        let (last, allowed) = match self.shared.view().beat {
            Some(beat) => (beat, SILENCE_MAX),
            None => (self.born, self.plan.start_timeout + SILENCE_MAX),
        };
        if self.fate != Fate::Free || now.duration_since(last) < allowed {
            return;
        }
        if is_paused(self.process.pid()) {
            self.excuse(now);
            return;
        }
        self.silent = true;
        let seconds = now.duration_since(last).as_secs();
        self.report.verdict = Some(format!("no sign of life for {seconds} s"));
        self.terminate(now + TERM_AFTER_SILENCE);
    }

    /// Time in which a process could not run does not count as silence.
    fn excuse(&mut self, now: Instant) {
        self.born = now;
        if let Some(beat) = &mut self.shared.view().beat {
            *beat = now;
        }
    }

    /// The next step against a process that should have ended.
    fn press(&mut self, now: Instant) {
        match self.fate {
            Fate::Asked(until) if now >= until => self.terminate(now + TERM_AFTER_STOP),
            Fate::Terminated(until) if now >= until => self.kill(),
            _ => {}
        }
    }

    fn condemn(&mut self, verdict: &str) {
        self.report
            .verdict
            .get_or_insert_with(|| verdict.to_owned());
        self.kill();
    }

    fn terminate(&mut self, kill_at: Instant) {
        self.process.signal(Signal::SIGTERM);
        self.fate = Fate::Terminated(kill_at);
    }

    fn kill(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.fate = Fate::Killed;
    }

    fn next_due(&self, now: Instant) -> Duration {
        if self.process.is_mute() {
            return MUTE_TICK;
        }
        match self.fate {
            Fate::Asked(until) | Fate::Terminated(until) => {
                until.saturating_duration_since(now).min(TICK)
            }
            Fate::Free | Fate::Killed => TICK,
        }
    }
}

/// Whether somebody stopped the process: SIGSTOP, or a debugger.
fn is_paused(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the command in parentheses, which may hold anything.
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('T' | 't'))
}
