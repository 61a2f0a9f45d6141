//! The C engine: finding it, loading it, running one node of it, dialling for it.
//!
//! ```text
//! locate ──► Found ──► reexec_through_bundle ──► open ──► &Library (hooks installed and proven)
//!                                                            │
//!            Engine::<Created>::create ◄── EngineConfig, Dialer
//!                 └─► bind ─► Engine<Bound> ─► start ─► Engine<Running> ─► stop
//! ```
//!
//! A process runs at most one node. The engine writes to sockets whose peer may be gone, so SIGPIPE
//! must stay ignored, as Rust's runtime leaves it.
//!
//! `unsafe` lives in this module only, and in the executable's exported names.
#![expect(unsafe_code, reason = "the C interface of the engine")]

mod bundle;
mod dial;
mod hangup;
pub mod hooks;
mod load;
mod locate;
mod outliving;
mod process;
mod raw;
mod snapshot_form;
mod state;

pub use bundle::{Bundle, BundleError, SELF, executable, reexec_through_bundle};
pub use dial::{Dialer, PlainDialer};
pub use libdqlite_sys::{Library, LoadError, Version};
pub use load::{OpenError, open};
pub use locate::{Found, LocateError, LocateOptions, locate};
pub use outliving::Outliving;
pub use process::{leave, set_worker_threads};
pub use raw::EngineError;
pub use state::{Bound, Created, Engine, EngineConfig, Running};
