//! One node process and its three pipes, none of which ever blocks.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::control::{FromNode, Lines, Received, ToNode, decode, encode};
use crate::launch::Launch;
use crate::restart::Ending;

/// Bytes of the log that are kept for reports.
const LOG_BYTES_MAX: usize = 64 << 10;
/// A log line longer than this is cut into several.
const LOG_LINE_BYTES_MAX: usize = 8 << 10;
/// Bytes taken from one pipe before the other one gets its turn.
const READ_BYTES_MAX: usize = 64 << 10;

/// What a process said.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A line on the control channel.
    Line(Received<FromNode>),
    /// A line of the log.
    Log(String),
}

/// A process that was started and not reaped yet. Dropping one kills and reaps it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    unsent: VecDeque<u8>,
    lines: Lines,
    log_line: Vec<u8>,
    heard: VecDeque<Heard>,
    ending: Option<Ending>,
}

impl Process {
    pub(crate) fn spawn(launch: &Launch) -> io::Result<Self> {
        let mut child = launch.spawn()?;
        let process = Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            child,
            unsent: VecDeque::new(),
            lines: Lines::default(),
            log_line: Vec::new(),
            heard: VecDeque::new(),
            ending: None,
        };
        for fd in process.fds() {
            let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
            fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The ends of the pipes that are open here.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let stdin = self.stdin.as_ref().map(AsFd::as_fd);
        let stdout = self.stdout.as_ref().map(AsFd::as_fd);
        stdin
            .into_iter()
            .chain(stdout)
            .chain(self.stderr.as_ref().map(AsFd::as_fd))
    }

    /// Queues a message; it goes out as fast as the process reads.
    pub(crate) fn send(&mut self, message: &ToNode) -> io::Result<()> {
        self.unsent.extend(encode(message)?);
        self.flush();
        Ok(())
    }

    /// Sends a signal, unless the process was reaped: its number may be another's by then.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.ending.is_none()
            && let Ok(pid) = i32::try_from(self.child.id())
        {
            // The only error left is a process that is gone, which is what the signal is for.
            let _gone = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Waits until the process said something, `wake` is readable, or time is up; then moves
    /// bytes in both directions.
    pub(crate) fn wait(&mut self, wake: BorrowedFd<'_>, at_most: Duration) -> io::Result<()> {
        let mut fds = vec![PollFd::new(wake, PollFlags::POLLIN)];
        for fd in [
            self.stdout.as_ref().map(AsFd::as_fd),
            self.stderr.as_ref().map(AsFd::as_fd),
        ] {
            fds.extend(fd.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        if let Some(stdin) = self.stdin.as_ref().filter(|_| !self.unsent.is_empty()) {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
        }
        // Rounded up: a wait that ends early would spin until its deadline.
        let at_most = at_most + Duration::from_micros(999);
        let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.flush();
        self.read_lines()?;
        self.read_log();
        Ok(())
    }

    /// The next thing that the process said.
    pub(crate) fn hear(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    /// Whether the process closed its side of the control channel, normally by ending.
    pub(crate) fn is_mute(&self) -> bool {
        self.stdout.is_none()
    }

    /// How the process ended, if it did; then it is reaped, and what it said last can be heard.
    pub(crate) fn ended(&mut self) -> Option<Ending> {
        if self.ending.is_none() {
            self.ending = match self.child.try_wait() {
                Ok(None) => return None,
                Ok(Some(status)) => Some(status.signal().map_or_else(
                    || status.code().map_or(Ending::Unknown, Ending::Status),
                    Ending::Signal,
                )),
                // An application that ignores SIGCHLD, or waits for any child, took the status.
                Err(_) => Some(Ending::Unknown),
            };
            // What is in the pipes was written before the end; a broken last line is no news.
            let _broken = self.read_lines();
            self.read_log();
            self.end_log_line();
        }
        self.ending
    }

    fn flush(&mut self) {
        while let Some(stdin) = &mut self.stdin
            && !self.unsent.is_empty()
        {
            match stdin.write(self.unsent.as_slices().0) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // A process that cannot be told anything any more ends, or is killed in time.
                Err(_) => self.stdin = None,
            }
        }
    }

    fn read_lines(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        if drain(&mut self.stdout, &mut bytes) {
            self.stdout = None;
        }
        self.lines.push(&bytes);
        while let Some(line) = self.lines.line()? {
            self.heard.push_back(Heard::Line(decode(&line)));
        }
        Ok(())
    }

    fn read_log(&mut self) {
        let mut bytes = Vec::new();
        let ended = drain(&mut self.stderr, &mut bytes);
        for byte in bytes {
            if byte == b'\n' || self.log_line.len() >= LOG_LINE_BYTES_MAX {
                self.end_log_line();
            }
            if byte != b'\n' {
                self.log_line.push(byte);
            }
        }
        if ended {
            self.end_log_line();
            self.stderr = None;
        }
    }

    fn end_log_line(&mut self) {
        if !self.log_line.is_empty() {
            let line = String::from_utf8_lossy(&self.log_line).into_owned();
            self.heard.push_back(Heard::Log(line));
            self.log_line.clear();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::SIGKILL);
            // Only an error that the next line could not cure is left.
            let _reaped = self.child.wait();
        }
    }
}

/// Takes what there is, within bounds; true at the end of the stream.
fn drain(from: &mut Option<impl Read>, into: &mut Vec<u8>) -> bool {
    let Some(from) = from else { return false };
    let mut chunk = [0; 8 << 10];
    while into.len() < READ_BYTES_MAX {
        match from.read(&mut chunk) {
            Ok(0) => return true,
            Ok(read) => into.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
    false
}

/// The end of a log.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > LOG_BYTES_MAX
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.len() + 1;
        }
    }

    /// The last lines, at most `lines_max`.
    pub(crate) fn last(&self, lines_max: usize) -> Vec<String> {
        let skipped = self.lines.len().saturating_sub(lines_max);
        self.lines.iter().skip(skipped).cloned().collect()
    }
}
