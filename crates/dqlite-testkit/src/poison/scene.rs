//! Nodes on which a row is tried: what was answered, what should have been, what is left.

use std::thread;
use std::time::{Duration, Instant};

use dqlite_proto::Value;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Report;
use super::victim::{Fixture, Kind, Victim};
use super::wire::{Answer, Wire};

/// How long a cluster may take to be whole again.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// Fresh nodes, with a database `test` that holds a table `t` of one row.
#[derive(Debug)]
pub struct Scene {
    /// The nodes.
    pub victim: Victim,
    kind: Kind,
    seen: Vec<String>,
    complaints: Vec<String>,
    gone: Option<String>,
}

impl Scene {
    pub(super) fn set(kind: &Kind, fixture: &Fixture) -> Result<Self, String> {
        let victim = Victim::start(kind, fixture).map_err(|e| e.to_string())?;
        let mut scene = Self {
            victim,
            kind: kind.clone(),
            seen: Vec::new(),
            complaints: Vec::new(),
            gone: None,
        };
        let mut wire = scene.open();
        for sql in [
            "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
            "INSERT INTO t(v) VALUES(1)",
        ] {
            let answer = wire.exec(sql);
            if !answer.is_fine() {
                return Err(format!("{sql}: {answer}"));
            }
        }
        scene.seen.clear();
        Ok(scene)
    }

    /// Other nodes of the same kind, which know nothing of these.
    pub fn another(&self, fixture: &Fixture) -> Option<Victim> {
        Victim::start(&self.kind, fixture).ok()
    }

    /// A connection to the leader, without a database.
    pub fn dial(&self) -> Wire {
        let address = self.victim.leader(PATIENCE);
        address.map_or_else(Wire::dead, |address| self.dial_to(&address))
    }

    /// A connection to `address`.
    pub fn dial_to(&self, address: &str) -> Wire {
        Wire::dial(address).unwrap_or_else(|_| Wire::dead())
    }

    /// A connection to the leader, with the database `test`.
    pub fn open(&self) -> Wire {
        let mut wire = self.dial();
        wire.open("test");
        wire
    }

    /// Remembers an answer for the report.
    pub fn note(&mut self, what: &str, answer: &Answer) {
        self.say(format!("{what}: {answer}"));
    }

    /// Remembers something else for the report.
    pub fn say(&mut self, line: String) {
        // A loop says the same again and again.
        if self.seen.last() != Some(&line) {
            self.seen.push(line);
        }
    }

    /// Something is not as it should be.
    pub fn complain(&mut self, what: impl Into<String>) {
        self.complaints.push(what.into());
    }

    /// Complains unless `holds`.
    pub fn check(&mut self, what: &str, holds: bool) {
        if !holds {
            self.complain(what);
        }
    }

    /// The answer should be a reply other than a failure.
    pub fn fine(&mut self, what: &str, answer: &Answer) {
        self.judge(what, answer, answer.is_fine(), "an answer");
    }

    /// The answer should be a failure of that code.
    pub fn fails(&mut self, what: &str, answer: &Answer, code: u64) {
        self.judge(
            what,
            answer,
            answer.code() == Some(code),
            &format!("FAIL {code}"),
        );
    }

    /// The answer should be a failure, of whatever code.
    pub fn refused(&mut self, what: &str, answer: &Answer) {
        self.judge(what, answer, answer.code().is_some(), "a failure");
    }

    /// The answer should be a failure or the end of the connection.
    pub fn cut(&mut self, what: &str, answer: &Answer) {
        let is_cut = answer.code().is_some() || *answer == Answer::Closed;
        self.judge(what, answer, is_cut, "a failure or the end");
    }

    /// The connection should end.
    pub fn closed(&mut self, what: &str, answer: &Answer) {
        self.judge(what, answer, *answer == Answer::Closed, "the end");
    }

    /// The answer should be these rows.
    pub fn rows(&mut self, what: &str, answer: &Answer, rows: &[&[Value]]) {
        let equal = match answer {
            Answer::Rows(seen) => seen.iter().map(Vec::as_slice).eq(rows.iter().copied()),
            _ => false,
        };
        self.judge(what, answer, equal, &format!("{rows:?}"));
    }

    /// The first cell of what `sql` asks, on a new connection, should be that integer.
    pub fn holds(&mut self, sql: &str, integer: i64) {
        let answer = self.open().query(sql);
        let equal = answer.cell() == Some(&Value::Integer(integer));
        self.judge(sql, &answer, equal, &integer.to_string());
    }

    fn judge(&mut self, what: &str, answer: &Answer, good: bool, wanted: &str) {
        self.note(what, answer);
        if !good {
            self.complain(format!("{what}: {answer}, wanted {wanted}"));
        }
    }

    /// Runs statements that are no poison.
    pub fn prepare(&mut self, wire: &mut Wire, statements: &[&str]) {
        for sql in statements {
            let answer = wire.exec(sql);
            if !answer.is_fine() {
                let short: String = sql.chars().take(60).collect();
                self.complain(format!("{short}: {answer}"));
                return;
            }
        }
    }

    /// As many writes, on one new connection.
    pub fn writes(&mut self, count: usize) {
        let mut wire = self.open();
        for number in 0..count {
            let answer = wire.exec("INSERT INTO t(v) VALUES(8)");
            if !answer.is_fine() {
                self.note("write", &answer);
                self.complain(format!("write {number}: {answer}"));
                return;
            }
        }
    }

    /// Stops a node; what is wrong with its end is a complaint.
    pub fn stop(&mut self, index: usize) {
        if let Err(reason) = self.victim.stop(index) {
            self.seen.push(reason.clone());
            self.gone.get_or_insert_with(|| reason.clone());
            self.complain(reason);
        }
    }

    /// Stops a node and starts it again.
    pub fn restart(&mut self, index: usize) {
        self.stop(index);
        self.start(index);
    }

    /// Restarts a node that may have no more open files than `most`, unless it asks for more.
    pub fn restart_with_descriptors(&mut self, index: usize, most: u64) {
        let name = Resource::RLIMIT_NOFILE;
        let limits = getrlimit(name);
        self.stop(index);
        // The child takes over what this process has; the clients here need more.
        let lowered = limits.and_then(|(_, hard)| setrlimit(name, most, hard));
        self.start(index);
        let raised = limits.and_then(|(soft, hard)| setrlimit(name, soft, hard));
        if let Err(error) = lowered.and(raised) {
            self.complain(format!("limits: {error}"));
        }
    }

    /// Starts a stopped node again.
    pub fn start(&mut self, index: usize) {
        if let Err(reason) = self.victim.start_again(index) {
            self.seen.push(reason.clone());
            self.gone = Some(reason.clone());
            self.complain(reason);
        }
    }

    /// Asks until the answer is good, as long as patience lasts.
    pub fn wait_for(&mut self, what: &str, mut good: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !good(self) {
            if Instant::now() >= deadline {
                self.complain(format!("never: {what}"));
                return;
            }
            thread::sleep(POLL_EVERY);
        }
    }

    /// Looks at what is left: every process, and a write on a new connection.
    pub(super) fn report(mut self) -> Report {
        let state = self.state();
        if state != "ok" {
            self.complaints.push(state.clone());
        }
        Report {
            seen: self.seen,
            complaints: self.complaints,
            state,
        }
    }

    fn state(&mut self) -> String {
        if let Some(gone) = self.gone.take() {
            return gone;
        }
        let death = |scene: &Self| {
            let mut each = 0..scene.victim.len();
            each.find_map(|index| scene.victim.death(index))
        };
        let deadline = Instant::now() + PATIENCE;
        let mut last = Answer::Silent;
        while Instant::now() < deadline {
            if let Some(death) = death(self) {
                return death;
            }
            let mut wire = self.open();
            last = wire.exec("INSERT INTO t(v) VALUES(8)");
            if last.is_fine() {
                // A death may take a moment to be seen.
                return death(self).unwrap_or_else(|| "ok".to_owned());
            }
            thread::sleep(POLL_EVERY);
        }
        if let Some(death) = death(self) {
            return death;
        }
        format!("wedged: another connection's write gets {last}")
    }
}
