//! What statements are logged, with the time that each took: all of them, or the slow ones.
//!
//! Texts are logged as they came, parameters never. While nothing is to be logged, a request costs
//! two counters and a note of what is in flight; only the texts of prepared statements are kept
//! for later.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dqlite_proto::suspects::Note;
use dqlite_proto::wire::Reader;
use dqlite_proto::{RequestKind, guard::carries_tuple};
use tracing::Level;

use crate::in_flight::{InFlight, Queue};
use crate::live::Live;

/// Of a longer text only the beginning is logged.
const SHOWN_BYTES: usize = 500;

/// Statements on their way through one connection.
#[derive(Debug)]
pub(super) struct Trail {
    live: Option<Arc<Live>>,
    in_flight: Option<Queue>,
    database: String,
    /// Requests that the engine was given, and those that it answered.
    passed: u64,
    settled: u64,
    /// Texts that are being prepared, by the number of their request.
    preparing: VecDeque<(u64, Kept)>,
    prepared: HashMap<u32, Kept>,
    timed: VecDeque<Timed>,
    /// When the engine last became free for the next request.
    free_since: Option<Instant>,
}

/// What is known of a prepared statement.
#[derive(Clone, Debug)]
struct Kept {
    text: Text,
    note: Note,
}

/// The beginning of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Text {
    shown: Box<str>,
    bytes: usize,
}

#[derive(Debug)]
struct Timed {
    number: u64,
    text: Text,
    since: Instant,
}

impl Trail {
    pub(super) fn new(live: Option<Arc<Live>>, in_flight: Option<Arc<InFlight>>) -> Self {
        Self {
            live,
            in_flight: in_flight.map(Queue::new),
            database: String::new(),
            passed: 0,
            settled: 0,
            preparing: VecDeque::new(),
            prepared: HashMap::new(),
            timed: VecDeque::new(),
            free_since: None,
        }
    }

    /// A request of this kind and with this beginning goes to the engine.
    pub(super) fn pass(&mut self, kind: RequestKind, body: &[u8]) {
        self.passed += 1;
        if kind == RequestKind::OPEN {
            self.database = String::from_utf8_lossy(name(body)).into_owned();
        }
        let text = sql(kind, body);
        let note = self.note(kind, body, text);
        if let (Some(queue), Some(note)) = (&mut self.in_flight, &note) {
            queue.push(self.passed, note);
        }
        match kind {
            RequestKind::PREPARE => {
                let text = Text::of(text);
                let note = note.unwrap_or_else(|| Note::new(kind, b""));
                self.preparing.push_back((self.passed, Kept { text, note }));
            }
            RequestKind::FINALIZE => {
                self.prepared.remove(&statement(body));
            }
            _ if carries_tuple(kind) && self.is_timing() => {
                let text = match kind {
                    RequestKind::EXEC | RequestKind::QUERY => {
                        let known = self.prepared.get(&statement(body));
                        known.map(|known| known.text.clone()).unwrap_or_default()
                    }
                    _ => Text::of(text),
                };
                self.timed.push_back(Timed {
                    number: self.passed,
                    text,
                    since: Instant::now(),
                });
            }
            _ => {}
        }
    }

    fn is_timing(&self) -> bool {
        self.live
            .as_ref()
            .is_some_and(|live| live.times_statements())
    }

    /// What is to be known of this request if the engine does not survive it.
    fn note(&self, kind: RequestKind, body: &[u8], text: &[u8]) -> Option<Note> {
        self.in_flight.as_ref()?;
        match kind {
            RequestKind::PREPARE | RequestKind::EXEC_SQL | RequestKind::QUERY_SQL => {
                Some(Note::new(kind, text))
            }
            RequestKind::EXEC | RequestKind::QUERY => {
                let known = self.prepared.get(&statement(body))?;
                Some(known.note.asked_by(kind))
            }
            RequestKind::OPEN | RequestKind::DUMP => Some(Note::new(kind, name(body))),
            _ => None,
        }
    }

    /// The database that was asked for.
    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// The gateway itself asks something, which nobody logs.
    pub(super) fn pass_own(&mut self) {
        self.passed += 1;
    }

    /// The last request is not completed after all, and will not be answered.
    pub(super) fn revoke(&mut self) {
        let number = self.passed;
        self.passed = number.saturating_sub(1);
        if let Some(queue) = &mut self.in_flight {
            queue.revoke(number);
        }
        if self
            .preparing
            .back()
            .is_some_and(|(asked, _)| *asked == number)
        {
            self.preparing.pop_back();
        }
        if self
            .timed
            .back()
            .is_some_and(|timed| timed.number == number)
        {
            self.timed.pop_back();
        }
    }

    /// The next answer is that a statement is prepared.
    pub(super) fn name(&mut self, answer: &[u8]) {
        if let Some((number, kept)) = self.preparing.front()
            && *number == self.settled + 1
        {
            self.prepared.insert(statement(answer), kept.clone());
        }
    }

    /// The next answer is complete.
    pub(super) fn settle(&mut self) {
        self.settled += 1;
        let number = self.settled;
        if let Some(queue) = &mut self.in_flight {
            queue.settle(number);
        }
        if self
            .preparing
            .front()
            .is_some_and(|(asked, _)| *asked <= number)
        {
            self.preparing.pop_front();
        }
        let Some(first) = self.timed.front().map(|timed| timed.number) else {
            return;
        };
        let now = Instant::now();
        let Some(timed) = (first <= number).then(|| self.timed.pop_front()).flatten() else {
            self.free_since = Some(now);
            return;
        };
        // What waited behind others is not slow for that.
        let since = self
            .free_since
            .map_or(timed.since, |free| free.max(timed.since));
        self.free_since = Some(now);
        self.log(&timed.text, now.saturating_duration_since(since));
    }

    fn log(&self, text: &Text, took: Duration) {
        let Some(live) = &self.live else { return };
        let ms = took.as_secs_f64() * 1000.0;
        let database = self.database.escape_debug();
        if let Some(limit) = live.slow().filter(|limit| took >= *limit) {
            let limit = limit.as_millis();
            tracing::warn!("statement_slow: {ms:.3} ms (limit {limit}) in {database}: {text}");
        }
        match live.trace_level() {
            Some(Level::ERROR) => tracing::error!("statement: {ms:.3} ms in {database}: {text}"),
            Some(Level::WARN) => tracing::warn!("statement: {ms:.3} ms in {database}: {text}"),
            Some(Level::INFO) => tracing::info!("statement: {ms:.3} ms in {database}: {text}"),
            Some(Level::DEBUG) => tracing::debug!("statement: {ms:.3} ms in {database}: {text}"),
            Some(_) => tracing::trace!("statement: {ms:.3} ms in {database}: {text}"),
            None => {}
        }
    }
}

impl Text {
    fn of(bytes: &[u8]) -> Self {
        let shown = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
        let shown = String::from_utf8_lossy(shown);
        // One line, whatever was sent.
        let shown = shown
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect::<String>();
        Self {
            shown: shown.into_boxed_str(),
            bytes: bytes.len(),
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)?;
        if self.bytes > SHOWN_BYTES {
            write!(f, "... ({} bytes)", self.bytes)?;
        }
        Ok(())
    }
}

/// The text of a request that has one, behind the id of the database.
fn sql(kind: RequestKind, body: &[u8]) -> &[u8] {
    match kind {
        RequestKind::PREPARE | RequestKind::EXEC_SQL | RequestKind::QUERY_SQL => {
            let mut reader = Reader::new(body.get(8..).unwrap_or_default());
            reader.text().unwrap_or_default()
        }
        _ => b"",
    }
}

/// The name in an OPEN or a DUMP.
fn name(body: &[u8]) -> &[u8] {
    Reader::new(body).text().unwrap_or_default()
}

/// The id in a request about a prepared statement.
fn statement(body: &[u8]) -> u32 {
    let id = body.get(4..).and_then(<[u8]>::first_chunk).copied();
    u32::from_le_bytes(id.unwrap_or_default())
}
