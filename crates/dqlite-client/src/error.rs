//! The error of every call: what happened, with whom, and what may be done about it.

use std::fmt;
use std::time::Duration;

use dqlite_proto::outcome::{self, Call, Effect, Verdict};
use dqlite_proto::session::Progress;
use dqlite_proto::{Code, Failure, FailureKind, Outcome, ProtocolError, Retry, Violation};

/// Why a call failed, whether it may have happened nevertheless, and what may be tried again.
///
/// One word wide. [`outcome`](Self::outcome) answers the question that matters in a replicated
/// database; [`is_retryable`](Self::is_retryable) is true only where a repetition cannot do a
/// thing twice.
pub struct Error(Box<Inner>);

/// The result of every call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An address, a URL, an option or a node-store file is wrong.
    Config,
    /// No usable connection to one server.
    Connect,
    /// Nobody leads, or nobody who does can be reached; see [`Error::attempts`].
    NoLeader,
    /// The connection ended.
    Lost,
    /// The deadline passed.
    Timeout,
    /// The server's bytes make no sense; the connection is closed.
    Protocol,
    /// The server said no; see [`Error::failure`].
    Rejected,
    /// A value cannot be sent, or cannot be read as the type that was asked for.
    Convert,
    /// The call itself is wrong, or was interrupted by the caller.
    Usage,
    /// A row was expected and there is none.
    NoRows,
    /// Whether a COMMIT took effect is not known.
    CommitUnknown,
    /// A transaction with the same token took effect before.
    AlreadyApplied,
    /// Servers died under this statement; it is not sent again for a while.
    Poison,
    /// A pool has no connection to give; nothing was sent.
    Pool,
}

/// What was learnt from one address while looking for the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The address as it was dialled.
    pub address: String,
    /// What sort of miss it was.
    pub kind: AttemptKind,
    /// The reason in words.
    pub text: String,
    /// How long the last attempt took.
    pub elapsed: Duration,
}

/// Why an address did not turn out to be the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttemptKind {
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    Timeout,
    /// No way to the host, or no permission to go there.
    Unreachable,
    /// The name has no address.
    Unresolved,
    /// TLS did not come about: a certificate, a version, or none where there should be one.
    Tls,
    /// Something answered that does not speak the protocol.
    NotDqlite,
    /// The connection was closed before the answer was complete.
    Closed,
    /// A voter that knows no leader.
    NoLeader,
    /// A member without a vote, which never knows the leader.
    NotVoter,
    /// Another address leads, it says.
    Redirected {
        /// Who leads.
        to: String,
    },
    /// It said no.
    Rejected,
}

impl AttemptKind {
    /// The kind in one word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Unresolved => "unresolved",
            Self::Tls => "tls",
            Self::NotDqlite => "not-dqlite",
            Self::Closed => "closed",
            Self::NoLeader => "no-leader",
            Self::NotVoter => "not-voter",
            Self::Redirected { .. } => "redirected",
            Self::Rejected => "rejected",
        }
    }
}

struct Inner {
    kind: ErrorKind,
    text: String,
    outcome: Outcome,
    retry: Retry,
    address: Option<String>,
    failure: Option<(Failure, FailureKind)>,
    attempts: Vec<Attempt>,
    commit: bool,
    index: Option<u64>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// What sort of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// May the request have taken effect?
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// What may be tried again.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Whether the call may be repeated without any danger of doing it twice.
    pub fn is_retryable(&self) -> bool {
        let refused = self.outcome() == Outcome::Refused || self.outcome() == Outcome::NotSent;
        refused && self.retry() != Retry::No
    }

    /// Whether the statement whose fate is unknown was a COMMIT.
    pub fn is_commit_ambiguous(&self) -> bool {
        self.0.commit && self.outcome() == Outcome::Unknown
    }

    /// What the server said, if it said no.
    pub fn failure(&self) -> Option<&Failure> {
        self.0.failure.as_ref().map(|(failure, _)| failure)
    }

    /// What sort of failure that was, in the light of what had been asked.
    pub fn failure_kind(&self) -> Option<FailureKind> {
        self.0.failure.as_ref().map(|(_, kind)| *kind)
    }

    /// The server's result code, if it said no.
    pub fn code(&self) -> Option<Code> {
        self.failure().map(|failure| failure.code)
    }

    /// With whom.
    pub fn address(&self) -> Option<&str> {
        self.0.address.as_deref()
    }

    /// Which of many executions failed, counted from 0.
    pub fn index(&self) -> Option<u64> {
        self.0.index
    }

    /// What was learnt from each address while looking for the leader.
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.attempts
    }
}

/// Making errors.
impl Error {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            text: text.into(),
            outcome: Outcome::NotSent,
            retry: Retry::No,
            address: None,
            failure: None,
            attempts: Vec::new(),
            commit: false,
            index: None,
            source: None,
        }))
    }

    pub(crate) fn config(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, text)
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, text)
    }

    pub(crate) fn convert(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Convert, text)
    }

    /// A column whose value its field cannot hold: for implementations of
    /// [`FromRow`](crate::FromRow).
    pub fn unfit(column: impl fmt::Debug, reason: &dyn fmt::Display) -> Self {
        Self::convert(format!("column {column:?}: {reason}"))
    }

    pub(crate) fn interrupted() -> Self {
        Self::usage("interrupted")
    }

    pub(crate) fn with_source(
        mut self,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    pub(crate) fn with_address(mut self, address: impl Into<String>) -> Self {
        self.0.address = Some(address.into());
        self
    }

    pub(crate) fn with_attempts(mut self, attempts: Vec<Attempt>) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// The error of one execution among many.
    pub(crate) fn with_index(mut self, index: u64) -> Self {
        self.0.index = Some(index);
        self
    }

    /// The same with more words.
    pub(crate) fn with_more(mut self, text: &str) -> Self {
        self.0.text.push_str(text);
        self
    }

    pub(crate) fn poison() -> Self {
        let text = "servers died under this statement; it is not sent again for 10 s";
        Self::new(ErrorKind::Poison, text)
    }

    pub(crate) fn already_applied() -> Self {
        let text = "a transaction with this token has taken effect before";
        Self::new(ErrorKind::AlreadyApplied, text).with_verdict(Outcome::Refused, Retry::No)
    }

    /// A COMMIT was not answered, and nobody could be asked what became of it.
    pub(crate) fn commit_in_doubt() -> Self {
        let text = "the commit may have taken effect: nobody could be asked in time";
        let mut error = Self::new(ErrorKind::CommitUnknown, text);
        error.0.commit = true;
        error.with_verdict(Outcome::Unknown, Retry::No)
    }

    /// A COMMIT of a transaction that a conflict had ended before: writes behind that stay.
    pub(crate) fn astray(mut self) -> Self {
        self.0.commit = false;
        let text = "; a conflict had rolled it back, and what was written behind that has happened";
        self.with_more(text)
            .with_verdict(Outcome::Unknown, Retry::No)
    }

    /// Whether the server misses a table.
    pub(crate) fn is_no_table(&self) -> bool {
        let failure = self.failure();
        failure.is_some_and(|failure| failure.message.starts_with("no such table"))
    }

    pub(crate) fn with_verdict(mut self, outcome: Outcome, retry: Retry) -> Self {
        self.0.outcome = outcome;
        self.0.retry = retry;
        self
    }

    /// No usable connection to `address`: nothing was sent, another server may do.
    pub(crate) fn connect(address: &str, text: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Connect, format!("connect to {address}: {text}"))
            .with_address(address)
            .with_verdict(Outcome::NotSent, Retry::Elsewhere)
    }

    /// The server answered with a failure.
    pub(crate) fn rejected(address: &str, failure: Failure, verdict: Verdict, call: Call) -> Self {
        let mut text = format!("{address}: {failure}");
        if verdict.outcome == Outcome::Unknown {
            text.push_str(doubt(call));
        }
        let mut error = Self::new(ErrorKind::Rejected, text)
            .with_address(address)
            .with_verdict(verdict.outcome, verdict.retry);
        error.0.failure = Some((failure, verdict.kind));
        error.of_commit(call)
    }

    /// The answer never came. [`judged`](Self::judged) says what that means for a request.
    pub(crate) fn lost(address: &str, why: Loss) -> Self {
        let kind = match why {
            Loss::Closed | Loss::Io(_) => ErrorKind::Lost,
            Loss::Deadline(_) => ErrorKind::Timeout,
            Loss::Protocol(_) => ErrorKind::Protocol,
            Loss::Interrupted => ErrorKind::Usage,
        };
        let (text, source) = why.describe(address);
        let mut error = Self::new(kind, text)
            .with_address(address)
            .with_verdict(Outcome::Unknown, Retry::No);
        error.0.source = source;
        error
    }

    /// The deadline passed, and the server has ended the statement: nothing of it happened.
    pub(crate) fn ended_after(mut self, after: Duration) -> Self {
        self.0.kind = ErrorKind::Timeout;
        let seconds = after.as_secs_f64();
        self.0.text = format!("{}: ended after {seconds:.1} s", self.0.text);
        self
    }

    /// A session that is over is asked for something.
    pub(crate) fn ended(address: &str) -> Self {
        let text = format!("the session on {address} has ended; connect again");
        Self::new(ErrorKind::Lost, text).with_address(address)
    }

    /// The same error as the end of a request that got so far and could do so much.
    #[must_use]
    pub fn judged(mut self, progress: Progress, call: Call) -> Self {
        let (outcome, retry) = outcome::of_loss(progress, call);
        match outcome {
            Outcome::Unknown => self.0.text.push_str(doubt(call)),
            Outcome::NotSent if call.effect != Effect::Read => {
                self.0.text.push_str("; the request was not sent");
            }
            _ => {}
        }
        self.with_verdict(outcome, retry).of_commit(call)
    }

    fn of_commit(mut self, call: Call) -> Self {
        self.0.commit = call.effect == Effect::Commit;
        if self.is_commit_ambiguous() {
            self.0.kind = ErrorKind::CommitUnknown;
        }
        self
    }
}

/// Why an answer never came.
#[derive(Debug)]
pub(crate) enum Loss {
    /// The server closed the connection.
    Closed,
    /// The kernel reported an error.
    Io(std::io::Error),
    /// The time for the call is used up.
    Deadline(Duration),
    /// The answer cannot be read.
    Protocol(ProtocolError),
    /// The caller gave up waiting.
    Interrupted,
}

impl Loss {
    fn describe(self, who: &str) -> (String, Option<Box<dyn std::error::Error + Send + Sync>>) {
        match self {
            Self::Closed => (format!("{who} closed the connection"), None),
            Self::Io(error) => {
                let text = format!("connection to {who} lost: {}", reason(&error));
                (text, Some(Box::new(error)))
            }
            Self::Deadline(after) => {
                let seconds = after.as_secs_f64();
                (format!("no answer from {who} within {seconds:.1} s"), None)
            }
            Self::Protocol(error) => {
                let text = format!("{who} sent something that is no answer: {error}");
                (text, Some(Box::new(error)))
            }
            Self::Interrupted => (format!("interrupted while waiting for {who}"), None),
        }
    }
}

const fn doubt(call: Call) -> &'static str {
    match call.effect {
        Effect::Commit => "; the commit may have taken effect: read before repeating it",
        _ => "; the write may have taken effect: read before repeating it",
    }
}

/// The words of an operating-system error, without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Io;
    let known = match error.kind() {
        Io::ConnectionRefused => "connection refused",
        Io::ConnectionReset => "connection reset",
        Io::ConnectionAborted => "connection aborted",
        Io::BrokenPipe => "broken pipe",
        Io::HostUnreachable => "no route to host",
        Io::NetworkUnreachable => "network unreachable",
        Io::TimedOut => "no answer in time",
        Io::NotFound => "no such file",
        Io::PermissionDenied => "permission denied",
        _ => return error.to_string(),
    };
    known.to_owned()
}

impl From<Violation> for Error {
    /// A request that cannot be sent. Values are Convert errors, the rest is misuse.
    fn from(violation: Violation) -> Self {
        let kind = match violation {
            Violation::Nul
            | Violation::NotUtf8
            | Violation::UnixTime
            | Violation::RequestTooLarge { .. } => ErrorKind::Convert,
            Violation::DatabaseName(_) => ErrorKind::Config,
            Violation::Lost => ErrorKind::Lost,
            _ => ErrorKind::Usage,
        };
        let error = Self::new(kind, violation.to_string()).with_source(violation);
        if kind == ErrorKind::Lost {
            return error.with_verdict(Outcome::NotSent, Retry::Elsewhere);
        }
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("text", &self.0.text)
            .field("outcome", &self.0.outcome)
            .field("retry", &self.0.retry)
            .field("attempts", &self.0.attempts)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref();
        source.map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests;
