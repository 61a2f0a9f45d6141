//! Bodies of the functions with which the executable stands in front of the engine's libraries.
//!
//! A name that an executable exports wins over the same name in a library loaded later, so the
//! engine calls these. The exported names themselves stand in the executable; nothing else may
//! export them.

mod decltype;
mod proof;
mod slack;

pub use decltype::{column_decltype, install};
pub use libdqlite_sys::Stmt;
pub use proof::{HOOKED, Unproven, prove};
pub use slack::{calloc, free, malloc, realloc};
