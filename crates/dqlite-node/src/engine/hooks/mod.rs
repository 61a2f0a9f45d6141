//! Bodies of the functions with which the executable stands in front of the engine's libraries.
//!
//! A name that an executable exports wins over the same name in a library loaded later, so the
//! engine calls these. The exported names themselves stand in the executable; nothing else may
//! export them.

mod authorizer;
mod batch;
mod decltype;
mod optimize;
mod proof;
mod quick_check;
mod real;
mod returning;
mod schema;
mod shm;
mod slack;
pub mod statements;

pub use authorizer::set_authorizer;
pub use batch::sysconf;
pub use decltype::column_decltype;
pub use libdqlite_sys::Stmt;
pub use libdqlite_sys::sqlite::{Authorizer, Db, ExecCallback, Vfs};
pub use optimize::stmt_readonly;
pub use proof::{HOOKED, Unproven, in_force, prove};
pub use quick_check::{Finding, findings};
pub use real::install;
pub use returning::{bind_parameter_count, column_count, exec, step};
pub use shm::vfs_register;
pub use slack::{calloc, free, limit_buffers, malloc, realloc};
