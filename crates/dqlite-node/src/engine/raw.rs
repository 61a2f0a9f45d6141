//! The node pointer, its single owner, and its failures in words.

use std::ffi::{CStr, c_int};
use std::fmt;

use libdqlite_sys::{Library, Node};

use crate::engine::dial::Dialer;

/// What the engine refused, or what we refused on its behalf.
#[derive(Debug)]
pub struct EngineError {
    step: &'static str,
    code: c_int,
    message: String,
}

impl EngineError {
    pub(super) fn usage(step: &'static str, message: impl Into<String>) -> Self {
        Self {
            step,
            code: 0,
            message: message.into(),
        }
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

/// A node between create and destroy, with the dialler that its threads call.
pub(super) struct Raw {
    library: &'static Library,
    node: *mut Node,
    dialer: *mut Dialer,
    /// Destroying a running node aborts the process: it is left to the process's end instead.
    pub(super) is_running: bool,
}

// SAFETY: the engine's calls may come from any thread, one at a time; `Raw` is not `Sync`, so its
// owner is the only caller. The dialler is `Send + Sync` itself.
unsafe impl Send for Raw {}

impl Raw {
    /// Takes over a node as create gave it, null included.
    pub(super) fn new(library: &'static Library, node: *mut Node, dialer: Dialer) -> Self {
        let dialer = Box::into_raw(Box::new(dialer));
        Self {
            library,
            node,
            dialer,
            is_running: false,
        }
    }

    pub(super) fn library(&self) -> &'static Library {
        self.library
    }

    pub(super) fn node(&self) -> *mut Node {
        self.node
    }

    /// What the connect function is given; valid until the node is destroyed.
    pub(super) fn dialer(&self) -> *mut Dialer {
        self.dialer
    }

    /// Turns the code of `step` into a result, with the engine's words read once.
    pub(super) fn check(&self, step: &'static str, code: c_int) -> Result<(), EngineError> {
        if code == 0 {
            Ok(())
        } else {
            Err(EngineError {
                step,
                code,
                message: self.message(),
            })
        }
    }

    fn message(&self) -> String {
        // SAFETY: a live node, or null, which this function accepts; the text is the node's own
        // buffer, copied before the next call.
        unsafe {
            let text = (self.library.symbols().dqlite_node_errmsg)(self.node);
            if text.is_null() {
                return String::new();
            }
            CStr::from_ptr(text)
                .to_string_lossy()
                .trim()
                .trim_end_matches(':')
                .to_owned()
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if self.is_running {
            return;
        }
        // SAFETY: never started, failed to start, or stopped: the states in which the engine allows
        // it. The dialler came from `Box::into_raw`, and whoever held it is gone with the node.
        unsafe {
            if !self.node.is_null() {
                (self.library.symbols().dqlite_node_destroy)(self.node);
            }
            drop(Box::from_raw(self.dialer));
        }
    }
}
