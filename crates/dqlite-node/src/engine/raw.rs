//! The node pointer, its single owner, and its failures in words.

use std::ffi::{CStr, c_int};
use std::fmt;

use libdqlite_sys::{Library, Node};

/// What the engine refused, or what we refused on its behalf.
#[derive(Debug)]
pub struct EngineError {
    step: &'static str,
    code: c_int,
    message: String,
}

impl EngineError {
    pub(super) fn usage(step: &'static str, message: impl Into<String>) -> Self {
        Self { step, code: 0, message: message.into() }
    }

    /// What was tried: `create`, `bind`, `start`, `stop`, or the name of an option.
    pub fn step(&self) -> &'static str {
        self.step
    }

    /// The engine's number; 0 if we refused before asking it.
    pub fn code(&self) -> i32 {
        self.code
    }

    /// The engine's words. May be empty, or cut short: see what the data directory says.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.message.as_str()) {
            (0, message) => write!(f, "{}: {message}", self.step),
            (code, "") => write!(f, "{}: the engine gave no reason (code {code})", self.step),
            (code, message) => write!(f, "{}: {message} (code {code})", self.step),
        }
    }
}

impl std::error::Error for EngineError {}

/// A node between create and destroy.
pub(super) struct Raw {
    library: &'static Library,
    node: *mut Node,
}

// SAFETY: the engine's calls may come from any thread, one at a time; `Raw` is not `Sync`, so its
// owner is the only caller.
unsafe impl Send for Raw {}

impl Raw {
    pub(super) fn new(library: &'static Library, node: *mut Node) -> Self {
        Self { library, node }
    }

    pub(super) fn library(&self) -> &'static Library {
        self.library
    }

    pub(super) fn node(&self) -> *mut Node {
        self.node
    }

    /// Turns the code of `step` into a result, with the engine's words read once.
    pub(super) fn check(&self, step: &'static str, code: c_int) -> Result<(), EngineError> {
        if code == 0 { Ok(()) } else { Err(EngineError { step, code, message: self.message() }) }
    }

    fn message(&self) -> String {
        // SAFETY: a live node, or null, which this function accepts; the text is the node's own
        // buffer, copied before the next call.
        unsafe {
            let text = (self.library.symbols().dqlite_node_errmsg)(self.node);
            if text.is_null() {
                return String::new();
            }
            CStr::from_ptr(text).to_string_lossy().trim().trim_end_matches(':').to_owned()
        }
    }

    /// Frees the node: created and never started, failed to start, or stopped.
    pub(super) fn destroy(self) {
        if !self.node.is_null() {
            // SAFETY: `self` was the only owner, and the states that call this are those in which
            // the engine allows it.
            unsafe { (self.library.symbols().dqlite_node_destroy)(self.node) }
        }
    }
}
