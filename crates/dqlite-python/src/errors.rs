//! From Rust errors to the Python classes of `dqlite.exceptions`, attributes set once.

use dqlite_proto::outcome::Verdict;
use dqlite_proto::{Code, Failure, FailureKind, Outcome, ProtocolError, Retry, Violation};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule};

static EXCEPTIONS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// An exception of ours before it is made: class, text, attributes.
pub(crate) struct Raise<'py> {
    py: Python<'py>,
    class: &'static str,
    message: String,
    attributes: Bound<'py, PyDict>,
}

impl<'py> Raise<'py> {
    /// An exception of the class of that name.
    pub(crate) fn new(py: Python<'py>, class: &'static str, message: impl Into<String>) -> Self {
        Self {
            py,
            class,
            message: message.into(),
            attributes: PyDict::new(py),
        }
    }

    /// Sets an attribute; one that cannot be made is left at its default.
    pub(crate) fn with(self, name: &str, value: impl IntoPyObject<'py>) -> Self {
        if let Ok(value) = value.into_bound_py_any(self.py) {
            // Setting a text key of a new dict fails for want of memory only.
            let _ = self.attributes.set_item(name, value);
        }
        self
    }

    /// Sets what may have happened and what may be tried again.
    pub(crate) fn outcome(self, outcome: Outcome, retry: Retry) -> Self {
        self.with("outcome", outcome_word(outcome))
            .with("retry", retry_word(retry))
    }

    /// Makes the exception.
    pub(crate) fn error(self) -> PyErr {
        let made = class(self.py, self.class)
            .and_then(|class| class.call((self.message,), Some(&self.attributes)));
        made.map_or_else(|error| error, PyErr::from_value)
    }
}

/// The name of a result code, if it has one.
#[pyfunction]
pub(crate) fn code_name(code: i64) -> Option<&'static str> {
    u64::try_from(code).ok().and_then(|code| Code(code).name())
}

/// All result codes that have a name, by it.
#[pyfunction]
pub(crate) fn code_names(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let names = PyDict::new(py);
    for code in Code::NAMED {
        names.set_item(code.name(), code.0)?;
    }
    Ok(names)
}

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let module = EXCEPTIONS
        .get_or_try_init(py, || py.import("dqlite.exceptions").map(Bound::unbind))?
        .bind(py);
    module.getattr(name)
}

const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotSent => "not_sent",
        Outcome::Refused => "refused",
        Outcome::Unknown => "unknown",
    }
}

const fn retry_word(retry: Retry) -> &'static str {
    match retry {
        Retry::No => "no",
        Retry::Here => "here",
        Retry::Elsewhere => "elsewhere",
        Retry::Transaction => "transaction",
    }
}

/// Misuse: closed, other loop, after a fork.
pub(crate) fn interface(py: Python<'_>, message: impl Into<String>) -> PyErr {
    Raise::new(py, "InterfaceError", message).error()
}

/// Wrong parameters, unknown option, unsupported type; nothing was sent.
pub(crate) fn programming(py: Python<'_>, message: impl Into<String>) -> PyErr {
    Raise::new(py, "ProgrammingError", message)
        .with("outcome", "not_sent")
        .error()
}

/// A value that cannot be bound or read.
pub(crate) fn data(py: Python<'_>, message: impl Into<String>) -> PyErr {
    Raise::new(py, "DataError", message).error()
}

/// Sessions ended under this statement.
pub(crate) fn poison(py: Python<'_>) -> PyErr {
    let text = "two sessions in a row ended under this statement; it is not sent for 10 s";
    Raise::new(py, "PoisonStatementError", text)
        .outcome(Outcome::NotSent, Retry::No)
        .error()
}

/// The server said no.
pub(crate) fn failure(
    py: Python<'_>,
    failure: &Failure,
    verdict: Verdict,
    is_commit: bool,
    address: &str,
) -> PyErr {
    let unknown = verdict.outcome == Outcome::Unknown;
    let name = match verdict.kind {
        _ if unknown && is_commit => "AmbiguousCommitError",
        FailureKind::LeadershipLost => "LeadershipLostError",
        _ if unknown => "OutcomeUnknownError",
        FailureKind::NotLeader => "NotLeaderError",
        FailureKind::Constraint | FailureKind::Mismatch => "IntegrityError",
        FailureKind::Busy | FailureKind::BusySnapshot | FailureKind::InProgress => "BusyError",
        FailureKind::NotFound => "ProgrammingError",
        FailureKind::TooBig => "DataError",
        FailureKind::NoMemory => "InternalError",
        FailureKind::Denied | FailureKind::Corrupt => "DatabaseError",
        FailureKind::Protocol => "ProtocolError",
        _ => "OperationalError",
    };
    Raise::new(py, name, escape(&failure.message))
        .with("raw_message", failure.message.as_str())
        .with("code", failure.code.0)
        .with("sqlite_errorname", failure.code.name())
        .with("address", address)
        .outcome(verdict.outcome, verdict.retry)
        .error()
}

/// Control characters made visible, once.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Why an answer will not come.
pub(crate) enum Loss {
    /// The peer closed, or the kernel says so.
    Connection(String),
    /// The peer does not speak the protocol.
    Protocol(String),
    /// The peer sends empty messages for ever, until nobody reads them any more.
    Endless(String),
    /// There are more rows than the caller wants to see.
    Rows(usize),
    /// The deadline passed, after so many seconds.
    Deadline(f64),
    /// Another thread ended the call.
    Interrupted,
    /// We closed it ourselves.
    Closed,
}

impl Loss {
    /// What the client says of the socket, without the words that [`lost`] puts before it.
    pub(crate) fn of_socket(error: &dqlite_client::Error) -> Self {
        let whole = error.to_string();
        let prefix = error
            .address()
            .map(|address| format!("connection to {address} lost: "));
        let reason = prefix.and_then(|prefix| whole.strip_prefix(&prefix));
        Self::Connection(reason.unwrap_or(&whole).to_owned())
    }

    /// Why a session had to be given up.
    pub(crate) fn of(error: &ProtocolError) -> Self {
        match error {
            ProtocolError::EmptyPart => Self::Endless(error.to_string()),
            error => Self::Protocol(error.to_string()),
        }
    }

    /// Whether the socket must stay open, unread, for the rest of the process.
    pub(crate) const fn must_park(&self) -> bool {
        matches!(self, Self::Endless(_))
    }
}

/// No answer came, or none will be waited for.
pub(crate) fn lost(
    py: Python<'_>,
    why: &Loss,
    address: &str,
    (outcome, retry): (Outcome, Retry),
    is_commit: bool,
    in_transaction: bool,
) -> PyErr {
    let unknown = outcome == Outcome::Unknown;
    let (name, what) = match why {
        Loss::Deadline(seconds) => {
            let seconds = format!("{seconds:.3}");
            let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
            (
                "StatementTimeoutError",
                format!("no answer from {address} within {seconds} s"),
            )
        }
        Loss::Interrupted => ("StatementTimeoutError", "interrupted".to_owned()),
        Loss::Protocol(text) | Loss::Endless(text) => {
            ("ProtocolError", format!("answer of {address}: {text}"))
        }
        Loss::Rows(most) => (
            "DataError",
            format!("the statement gives more than max_rows = {most} rows"),
        ),
        Loss::Connection(text) => (lost_class(outcome, in_transaction), {
            format!("connection to {address} lost: {text}")
        }),
        Loss::Closed => (lost_class(outcome, in_transaction), {
            format!("connection to {address} was closed before the answer came")
        }),
    };
    let is_broken = matches!(why, Loss::Protocol(_) | Loss::Endless(_) | Loss::Rows(_));
    let retry = if is_broken { Retry::No } else { retry };
    let name = if unknown && is_commit {
        "AmbiguousCommitError"
    } else {
        name
    };
    let doubt = if unknown {
        "; the statement may have run"
    } else {
        ""
    };
    let raise = Raise::new(py, name, format!("{what}{doubt}"))
        .with("address", address)
        .outcome(outcome, retry);
    let raise = match why {
        Loss::Interrupted => as_interrupted(raise),
        _ => raise,
    };
    let has_stage = matches!(name, "ConnectionFailedError" | "ConnectionLostError");
    if has_stage {
        raise.with("stage", "lost").error()
    } else {
        raise.error()
    }
}

const fn lost_class(outcome: Outcome, in_transaction: bool) -> &'static str {
    match outcome {
        Outcome::NotSent => "ConnectionFailedError",
        Outcome::Refused if in_transaction => "ConnectionFailedError",
        Outcome::Refused | Outcome::Unknown => "ConnectionLostError",
    }
}

/// The session is gone and nothing was sent on it.
pub(crate) fn not_sent(py: Python<'_>, address: &str) -> PyErr {
    Raise::new(
        py,
        "ConnectionFailedError",
        format!("connection to {address} is closed"),
    )
    .with("address", address)
    .with("stage", "lost")
    .outcome(Outcome::NotSent, Retry::Elsewhere)
    .error()
}

/// Another thread ended the call before it had sent anything.
pub(crate) fn interrupted(py: Python<'_>, address: Option<&str>) -> PyErr {
    as_interrupted(Raise::new(py, "StatementTimeoutError", "interrupted"))
        .with("address", address)
        .outcome(Outcome::NotSent, Retry::Here)
        .error()
}

/// With the code of a statement that was interrupted.
fn as_interrupted(raise: Raise<'_>) -> Raise<'_> {
    raise
        .with("code", Code::INTERRUPT.0)
        .with("sqlite_errorname", Code::INTERRUPT.name())
}

/// A request that may not be sent.
pub(crate) fn violation(py: Python<'_>, violation: &Violation) -> PyErr {
    match violation {
        Violation::RequestTooLarge { .. } => Raise::new(py, "DataError", violation.to_string())
            .with("outcome", "not_sent")
            .error(),
        _ => programming(py, violation.to_string()),
    }
}

/// The call's time went by while the session still works on one that was given up.
pub(crate) fn drained_too_long(py: Python<'_>, address: &str, seconds: f64) -> PyErr {
    let text = format!("{address} was still busy with a call given up before, for {seconds} s");
    Raise::new(py, "StatementTimeoutError", text)
        .with("address", address)
        .outcome(Outcome::NotSent, Retry::Here)
        .error()
}

/// An error of the Rust client.
pub(crate) fn client(py: Python<'_>, error: &dqlite_client::Error) -> PyErr {
    use dqlite_client::ErrorKind;
    let name = match (error.kind(), error.failure_kind()) {
        (ErrorKind::NoLeader, _) => "NoLeaderError",
        (ErrorKind::Lost, _) if error.outcome() == Outcome::Unknown => "ConnectionLostError",
        (ErrorKind::Connect | ErrorKind::Lost, _) => "ConnectionFailedError",
        (ErrorKind::Timeout, _) => "StatementTimeoutError",
        (ErrorKind::Protocol, _) => "ProtocolError",
        (ErrorKind::Convert, _) => "DataError",
        (ErrorKind::Usage, _) => "InterfaceError",
        (ErrorKind::Rejected, Some(FailureKind::NotLeader)) => "NotLeaderError",
        (ErrorKind::Rejected, Some(FailureKind::LeadershipLost)) => "LeadershipLostError",
        (ErrorKind::Rejected, Some(FailureKind::Busy | FailureKind::InProgress)) => "BusyError",
        (ErrorKind::Rejected, Some(FailureKind::NotFound)) => "ProgrammingError",
        (ErrorKind::Rejected, Some(FailureKind::Denied)) => "DatabaseError",
        (ErrorKind::Rejected, _) => "OperationalError",
        _ => "ProgrammingError",
    };
    client_as(py, name, error)
}

/// Whether the server knows no such database.
pub(crate) fn is_not_found(error: &dqlite_client::Error) -> bool {
    error.failure_kind() == Some(FailureKind::NotFound)
}

/// An error of the Rust client as the class of that name.
pub(crate) fn client_as(py: Python<'_>, name: &'static str, error: &dqlite_client::Error) -> PyErr {
    let mut raise = Raise::new(py, name, error.to_string()).outcome(error.outcome(), error.retry());
    if let Some(address) = error.address() {
        raise = raise.with("address", address);
    }
    if let Some(failure) = error.failure() {
        raise = raise
            .with("raw_message", failure.message.as_str())
            .with("code", failure.code.0)
            .with("sqlite_errorname", failure.code.name());
    }
    if name == "NoLeaderError" {
        let attempts: Vec<_> = error
            .attempts()
            .iter()
            .map(|attempt| {
                let seconds = attempt.elapsed.as_secs_f64();
                (
                    attempt.address.as_str(),
                    attempt.kind.name(),
                    attempt.text.as_str(),
                    seconds,
                )
            })
            .collect();
        raise = raise.with("attempts", attempts);
    }
    raise.error()
}
