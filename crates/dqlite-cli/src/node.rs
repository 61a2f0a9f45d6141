//! `dqlite node`: the node's side of the control channel.
//!
//! ```text
//! main:            hello ─► configuration ─► engine ─► host (one thread, one runtime) ─► bye
//! dqlite-control:  lines of stdin  ─► commands
//! dqlite-events:   events ─► lines of stdout; a blocked reader blocks nothing else
//! ```

use std::convert::Infallible;
use std::io::{self, BufRead, BufReader, Stdin};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dqlite::control::{self, FromNode, Options, Received, ToNode, VERSION, exit};
use dqlite_node::engine::{self, Found, Library, LocateOptions};
use dqlite_node::event::{Command, Event};
use dqlite_node::host;
use dqlite_node::in_flight::InFlight;
use dqlite_node::live::Change;
use dqlite_node::{Complaint, HostError, NodeConfig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::Node;
use crate::log;
use crate::orphan::{self, Parent};
use crate::report;

/// Events and lines that may wait for a reader.
const QUEUE: usize = 1024;
/// What a stop by signal may take.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long the last line may wait for its reader.
const LAST_LINE_LIMIT: Duration = Duration::from_millis(500);

/// Runs a node; the status is that of the control channel's contract.
pub(crate) fn run(node: &Node) -> ExitCode {
    let started = Instant::now();
    // Whoever started this process may have blocked signals, and a mask is inherited.
    if let Err(errno) = SigSet::empty().thread_set_mask() {
        eprintln!("dqlite: unblock signals: {errno}");
    }
    let Some(parent) = Parent::watch() else {
        return ExitCode::from(0);
    };
    let found = engine::locate(&LocateOptions {
        explicit: node.engine.clone(),
    });
    let found = found.map_err(HostError::Locate).and_then(|found| {
        let reason = engine::reexec_through_bundle(&found).map(|()| found);
        reason.map_err(|reason| HostError::Load(reason.to_string()))
    });
    let status = catch_unwind(AssertUnwindSafe(|| serve(found, &parent, started)));
    // Threads of a stuck engine must not be waited for, and nothing is left to be dropped.
    engine::leave(status.unwrap_or(exit::BUG))
}

fn serve(found: Result<Found, HostError>, parent: &Parent, started: Instant) -> i32 {
    // Without it a crash is told all the same, only not what ran.
    let in_flight = InFlight::new().ok().map(Arc::new);
    let hello = FromNode::Hello {
        v: VERSION,
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        control: vec![VERSION],
        in_flight: in_flight.as_ref().map(|notes| notes.descriptor()),
    };
    if control::write(&mut io::stdout(), &hello).is_err() {
        return exit::CLEAN;
    }
    let mut lines = BufReader::new(io::stdin());
    match prepare(found, &mut lines) {
        Ok(Some(ready)) => {
            let process = host::Process {
                library: ready.library,
                started,
                in_flight,
            };
            converse(ready, process, lines, parent)
        }
        Ok(None) => exit::CLEAN,
        Err(error) => {
            // Without a reader the status has to say it alone.
            let _ = control::write(&mut io::stdout(), &report::fatal(&error));
            report::status(&error)
        }
    }
}

/// What has to be done before the first thread.
struct Ready {
    config: NodeConfig,
    library: &'static Library,
    engine: Event,
}

/// Reads the configuration, sets the process up, and loads the engine. `None` if the application
/// went away before it said anything.
fn prepare(
    found: Result<Found, HostError>,
    lines: &mut impl BufRead,
) -> Result<Option<Ready>, HostError> {
    let found = found?;
    let Some(options) = first_line(lines)? else {
        return Ok(None);
    };
    let config = NodeConfig::from_options(&options).map_err(HostError::Config)?;
    log::to_stderr(config.log_level);
    raise_descriptor_limit();
    engine::set_worker_threads(config.worker_threads)
        .map_err(|reason| HostError::Load(format!("set the number of threads: {reason}")))?;
    let library = engine::open(&found).map_err(|reason| HostError::Load(reason.to_string()))?;
    let engine = Event::Engine {
        path: library.path().to_owned(),
        version: library.version().to_string(),
        bundle: found.bundle.map(|bundle| bundle.directory),
        missing: library.missing().into_iter().map(str::to_owned).collect(),
    };
    Ok(Some(Ready {
        config,
        library,
        engine,
    }))
}

fn first_line(lines: &mut impl BufRead) -> Result<Option<Options>, HostError> {
    let wrong = |option: &str, value: String, reason: &str| {
        let (option, reason) = (option.to_owned(), reason.to_owned());
        HostError::Config(vec![Complaint {
            option,
            value,
            reason,
        }])
    };
    match control::read(lines) {
        Ok(None) => Ok(None),
        Ok(Some(Received::Message(ToNode::Config {
            v: VERSION,
            options,
            ..
        }))) => Ok(Some(options)),
        Ok(Some(Received::Message(ToNode::Config { v, .. }))) => {
            let reason = format!("this executable speaks version {VERSION} of the control channel");
            Err(wrong("v", v.to_string(), &reason))
        }
        Ok(Some(Received::Message(_))) => Err(wrong(
            "config",
            "absent".to_owned(),
            "the first line must be the configuration",
        )),
        Ok(Some(Received::Unreadable(line))) => {
            Err(wrong("config", "unreadable".to_owned(), &line.reason))
        }
        Err(reason) => Err(wrong(
            "config",
            "unreadable".to_owned(),
            &reason.to_string(),
        )),
    }
}

/// *Engine*: every database ever opened, every connection and every peer holds descriptors.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        tracing::warn!("raise the limit of open files: {errno}");
    }
}

/// Runs the host between the two threads that read and write lines.
fn converse(ready: Ready, process: host::Process, lines: BufReader<Stdin>, parent: &Parent) -> i32 {
    let (out, queued) = mpsc::channel(QUEUE);
    let (events, told) = mpsc::channel(QUEUE);
    let (commands, asked) = mpsc::channel(QUEUE);
    let written = write_lines(queued);
    read_lines(lines, commands.clone(), out.downgrade());
    let orphaned = commands.clone();
    parent.when_gone(move || abandon(&orphaned));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(async {
                // The queue is empty: it takes this one.
                let _ = events.try_send(ready.engine);
                let pumping = tokio::spawn(pump(told, out.clone()));
                let hosting = host::run(ready.config, process, events, asked);
                let ended = tokio::select! {
                    ended = hosting => ended,
                    never = interrupts(parent, commands) => match never {},
                };
                // All senders of events are gone, so the pump has an end.
                let _ = tokio::time::timeout(LAST_LINE_LIMIT, pumping).await;
                ended
            });
            // An engine that is stuck keeps a thread of the runtime for ever.
            runtime.shutdown_background();
            ended
        }
        Err(reason) => Err(HostError::Bug(format!("start the runtime: {reason}"))),
    };
    let (last, status) = match ended {
        Ok(bye) if bye.left => (report::bye(bye), exit::REMOVED),
        Ok(bye) => (report::bye(bye), exit::CLEAN),
        Err(error) => (report::fatal(&error), report::status(&error)),
    };
    // A reader that does not read, or has gone, gets no last line.
    if out.try_send(last).is_ok() {
        drop(out);
        let _ = written.recv_timeout(LAST_LINE_LIMIT);
    }
    status
}

/// Turns events into lines; those for which there is no room are lost.
async fn pump(mut events: mpsc::Receiver<Event>, out: mpsc::Sender<FromNode>) {
    while let Some(event) = events.recv().await {
        if out.try_send(report::line(event)).is_err() {
            tracing::debug!("an event was dropped: nobody reads stdout");
        }
    }
}

/// Writes lines to stdout in a thread of its own; the receiver hears of its end.
fn write_lines(mut queued: mpsc::Receiver<FromNode>) -> std::sync::mpsc::Receiver<()> {
    let (done, written) = std::sync::mpsc::channel();
    let writer = thread::Builder::new()
        .name("dqlite-events".to_owned())
        .spawn(move || {
            let mut stdout = io::stdout();
            while let Some(line) = queued.blocking_recv() {
                if control::write(&mut stdout, &line).is_err() {
                    break;
                }
            }
            drop(done);
        });
    if let Err(reason) = writer {
        tracing::error!("start the thread that writes events: {reason}");
    }
    written
}

/// Reads commands from stdin in a thread of its own; its end is the application's end.
fn read_lines(
    mut lines: BufReader<Stdin>,
    commands: mpsc::Sender<Command>,
    out: mpsc::WeakSender<FromNode>,
) {
    let reader = thread::Builder::new()
        .name("dqlite-control".to_owned())
        .spawn(move || {
            let started = Instant::now();
            while let Ok(Some(received)) = control::read(&mut lines) {
                match command(received, started) {
                    Ok(command) => {
                        if commands.blocking_send(command).is_err() {
                            return;
                        }
                    }
                    Err(answer) => {
                        let Some(out) = out.upgrade() else { return };
                        if out.blocking_send(answer).is_err() {
                            return;
                        }
                    }
                }
            }
            abandon(&commands);
        });
    if let Err(reason) = reader {
        tracing::error!("start the thread that reads commands: {reason}");
    }
}

/// The application is gone.
fn abandon(commands: &mpsc::Sender<Command>) {
    orphan::limit();
    // The node may be stopping already.
    let _ = commands.blocking_send(Command::Orphaned);
}

/// A command for the host, or the answer to what the host need not know.
fn command(received: Received<ToNode>, started: Instant) -> Result<Command, FromNode> {
    let message = match received {
        Received::Message(message) => message,
        Received::Unreadable(line) => {
            let n = line.n.unwrap_or_default();
            return Err(report::refusal(n, "unknown_request", line.reason));
        }
    };
    let deadline = |ms| Duration::from_millis(ms);
    match message {
        ToNode::Stop {
            n,
            handover,
            deadline_ms,
        } => Ok(Command::Stop {
            n: Some(n),
            handover,
            deadline: deadline(deadline_ms),
        }),
        ToNode::Handover {
            n,
            roles,
            deadline_ms,
        } => Ok(Command::Handover {
            n,
            roles,
            deadline: deadline(deadline_ms),
        }),
        ToNode::Status { n } => Ok(Command::Status { n }),
        ToNode::Explain { n } => Ok(Command::Explain { n }),
        ToNode::Ping { n } => Err(report::pong(n, started.elapsed())),
        ToNode::Leave { n, deadline_ms } => Ok(Command::Leave {
            n,
            deadline: deadline(deadline_ms),
        }),
        ToNode::Set {
            n,
            log_level,
            trace_sql,
            slow_statement_ms,
            leader_probe_limit,
        } => {
            let values = [
                ("trace_sql", trace_sql.map(Value::from)),
                ("slow_statement_ms", slow_statement_ms.map(Value::from)),
                ("leader_probe_limit", leader_probe_limit.map(Value::from)),
            ];
            set(log_level.as_deref(), &values)
                .map(|change| Command::Set { n, change })
                .map_err(|reason| report::refusal(n, "bad_option", reason))
        }
        ToNode::ReloadTls { n } => Ok(Command::ReloadTls { n }),
        ToNode::Config { .. } => Err(report::refusal(
            0,
            "unknown_request",
            "the configuration comes once",
        )),
    }
}

/// Changes the level of the log, and gives what the host has to change; nothing unless all is
/// right.
fn set(log_level: Option<&str>, values: &[(&str, Option<Value>)]) -> Result<Change, String> {
    let told = |complaints: Vec<Complaint>| {
        let complaints = complaints.iter().map(ToString::to_string);
        complaints.collect::<Vec<_>>().join("; ")
    };
    let change = Change::read(values).map_err(told)?;
    log_level.map_or(Ok(()), log::set_level)?;
    Ok(change)
}

/// Acts on SIGTERM: a wish, or the kernel's word that the parent died. SIGHUP has the certificates
/// read again. SIGINT is for the application, which decides what it means.
async fn interrupts(parent: &Parent, commands: mpsc::Sender<Command>) -> Infallible {
    let listen = |kind| signal(kind).ok();
    let _ignored = listen(SignalKind::interrupt());
    let mut hangup = listen(SignalKind::hangup());
    let mut terminate = listen(SignalKind::terminate());
    loop {
        let hung_up = tokio::select! {
            () = next(&mut terminate) => false,
            () = next(&mut hangup) => true,
        };
        let command = if hung_up {
            Command::Hangup
        } else if parent.is_gone() {
            orphan::limit();
            Command::Orphaned
        } else {
            Command::Stop {
                n: None,
                handover: true,
                deadline: STOP_LIMIT,
            }
        };
        // The host may have ended.
        let _ = commands.send(command).await;
    }
}

/// The next signal; never without a listener.
async fn next(listener: &mut Option<Signal>) {
    match listener {
        Some(listener) => drop(listener.recv().await),
        None => std::future::pending().await,
    }
}
