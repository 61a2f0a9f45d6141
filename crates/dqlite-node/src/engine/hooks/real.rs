//! SQLite's own functions, behind ours.

use std::sync::OnceLock;

use libdqlite_sys::{Library, Sqlite};

use super::batch;

static REAL: OnceLock<Sqlite> = OnceLock::new();

/// Tells the hooks where the functions are that they stand in front of. The first call counts.
pub fn install(library: &Library) {
    REAL.get_or_init(|| *library.sqlite());
    batch::answer_to(library.extent());
}

/// None before the engine is loaded, when nobody calls.
pub(super) fn real() -> Option<&'static Sqlite> {
    REAL.get()
}
