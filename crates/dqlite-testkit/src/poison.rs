//! The table of inputs that kill, wedge, lock out or open a stock node, and what they do to nodes.
//!
//! Each [`Row`] provokes one of them, over plain sockets and without any manners, and says what a
//! node of ours answers. [`attempt`] tries a row on fresh nodes and reports what was seen, what
//! differs from the remedy, and what is left of the nodes.
//!
//! ```no_run
//! use dqlite_testkit::poison::{Kind, TABLE, attempt};
//!
//! for row in TABLE.iter().copied().flatten() {
//!     println!("{}: {}", row.id, attempt(&Kind::Stock, row).state);
//! }
//! ```

mod long;
mod membership;
mod requests;
mod scene;
mod sizes;
mod sql;
mod values;
mod victim;
pub mod wire;

pub use scene::Scene;
pub use victim::{Fixture, Kind, Newcomer, Victim};

/// One input, provoked exactly as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its number in the table.
    pub id: &'static str,
    /// What is done, in short.
    pub input: &'static str,
    /// On what.
    pub fixture: Fixture,
    /// Whether it costs gigabytes or minutes, and on which kind of node.
    pub cost: Cost,
    /// Does it; what is not as it should be on a node of ours is told to the scene.
    pub run: fn(&mut Scene),
}

/// What it costs to try a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Seconds.
    Little,
    /// Gigabytes or minutes, on a stock node only.
    MuchOnStock,
    /// Gigabytes or minutes, on every node.
    Much,
}

impl Row {
    const fn new(id: &'static str, input: &'static str, run: fn(&mut Scene)) -> Self {
        Self {
            id,
            input,
            fixture: Fixture::ONE,
            cost: Cost::Little,
            run,
        }
    }

    const fn on(self, fixture: Fixture) -> Self {
        Self { fixture, ..self }
    }

    const fn costs(self, cost: Cost) -> Self {
        Self { cost, ..self }
    }
}

/// All rows, by what they are about.
pub const TABLE: &[&[Row]] = &[
    values::ROWS,
    sql::ROWS,
    long::ROWS,
    sizes::ROWS,
    requests::ROWS,
    membership::ROWS,
];

/// What came of a row.
#[derive(Clone, Debug)]
pub struct Report {
    /// The answers, in short.
    pub seen: Vec<String>,
    /// Where they differ from the remedy.
    pub complaints: Vec<String>,
    /// What is left of the nodes: `ok`, `dies ...`, `wedged ...` or `locked out ...`.
    pub state: String,
}

impl Report {
    /// Whether everything was as it is on a node of ours.
    pub fn is_remedied(&self) -> bool {
        self.complaints.is_empty() && self.state == "ok"
    }
}

/// The row of that number.
pub fn row(id: &str) -> Option<&'static Row> {
    TABLE.iter().copied().flatten().find(|row| row.id == id)
}

/// Tries a row on fresh nodes.
pub fn attempt(kind: &Kind, row: &Row) -> Report {
    let mut scene = match Scene::set(kind, &row.fixture) {
        Ok(scene) => scene,
        Err(reason) => {
            return Report {
                seen: Vec::new(),
                complaints: vec![reason],
                state: "no nodes to try it on".to_owned(),
            };
        }
    };
    (row.run)(&mut scene);
    scene.report()
}
