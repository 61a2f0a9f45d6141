//! One node of the engine as a state machine: the wrong order does not compile.
//!
//! ```text
//! create ─► Created ─bind─► Bound ─start─► Running ─stop─► gone
//!    └───────error──────────┴────error───────┴───────────► gone
//! ```
//!
//! *Engine* (1.18.7): start without a bound address, destroy without stop, and two stops at once
//! abort or hang the process; starting a stopped node crashes it.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::io;
use std::os::fd::IntoRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::ptr;

use libdqlite_sys::{Library, SNAPSHOT_TRAILING_DYNAMIC, Symbols, Version};

use crate::engine::dial::Dialer;
use crate::engine::raw::{EngineError, Raw};
use crate::engine::snapshot_form;

/// Longer data directories are cut silently by the engine.
const DATA_DIR_BYTES_MAX: usize = 894;
/// Not insisted on: where the engine has no such queue, its absence is in the warning that an
/// engine before the floor gets.
const BUSY_TIMEOUT_DEFAULT_MS: u32 = 5000;

/// What a node is told before it starts.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// 1 and `0x2dc171858c3155be` found a cluster of one in a virgin directory.
    pub id: u64,
    /// Recorded in the log, given to the peers' diallers; compared as text.
    pub address: String,
    /// Exists already.
    pub data_dir: PathBuf,
    /// One way; an election follows after 15 to 30 times as much.
    pub network_latency_ms: u32,
    /// How long a writer waits in its database's queue; 0 is not at all.
    pub busy_timeout_ms: u32,
    /// Log entries between two snapshots.
    pub snapshot_threshold: u32,
    /// Log entries kept behind a snapshot.
    pub snapshot_trailing: u32,
    /// Keep no more of the log than the snapshot weighs.
    pub snapshot_trailing_dynamic: bool,
    /// The engine's own default if absent.
    pub snapshot_compression: Option<bool>,
    /// Whether damaged segments are put aside at start; the engine's own default (on) if absent.
    pub auto_recovery: Option<bool>,
    /// Size of the log's writes; probed if absent.
    pub block_size_bytes: Option<u32>,
    /// Reported to whoever asks.
    pub failure_domain: u64,
}

impl EngineConfig {
    /// A configuration with the defaults of a node.
    pub fn new(id: u64, address: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            id,
            address: address.into(),
            data_dir: data_dir.into(),
            network_latency_ms: 20,
            busy_timeout_ms: BUSY_TIMEOUT_DEFAULT_MS,
            snapshot_threshold: 1024,
            snapshot_trailing: 8192,
            snapshot_trailing_dynamic: false,
            snapshot_compression: None,
            auto_recovery: None,
            block_size_bytes: None,
            failure_domain: 0,
        }
    }
}

/// State: created and set up, not bound.
#[derive(Debug)]
pub struct Created(());

/// State: listening, not started.
#[derive(Debug)]
pub struct Bound {
    name: String,
}

/// State: serving. Dropping a running engine leaves it running: the process is about to end.
#[derive(Debug)]
pub struct Running {
    name: String,
}

/// One node of the engine, in state `S`.
pub struct Engine<S> {
    raw: Raw,
    state: S,
}

impl<S: fmt::Debug> fmt::Debug for Engine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Engine<Created> {
    /// Creates a node in an existing directory and sets it up; `dialer` connects it to its peers.
    ///
    /// An option that the engine lacks is refused by name.
    pub fn create(
        library: &'static Library,
        config: &EngineConfig,
        dialer: Dialer,
    ) -> Result<Self, EngineError> {
        let data_dir = config.data_dir.as_os_str().as_encoded_bytes();
        if data_dir.len() > DATA_DIR_BYTES_MAX {
            let reason = format!("{} bytes, {DATA_DIR_BYTES_MAX} at most", data_dir.len());
            return Err(EngineError::usage("data_dir", reason));
        }
        let address = text("address", config.address.as_bytes())?;
        let data_dir = text("data_dir", data_dir)?;
        let mut node = ptr::null_mut();
        // SAFETY: both strings outlive the call, which copies them; `node` is written.
        let code = unsafe {
            (library.symbols().dqlite_node_create)(
                config.id,
                address.as_ptr(),
                data_dir.as_ptr(),
                &raw mut node,
            )
        };
        let raw = Raw::new(library, node, dialer);
        raw.check("create", code)?;
        let engine = Self {
            raw,
            state: Created(()),
        };
        engine.set_up(config)?;
        Ok(engine)
    }

    fn set_up(&self, config: &EngineConfig) -> Result<(), EngineError> {
        let raw = &self.raw;
        let (c, node) = (raw.library().symbols(), raw.node());
        // SAFETY: the node is created and not started. The dialler lives as long as the node.
        unsafe {
            raw.check(
                "connect",
                (c.dqlite_node_set_connect_func)(node, connect, raw.dialer().cast()),
            )?;
            raw.check(
                "network_latency_ms",
                (c.dqlite_node_set_network_latency_ms)(node, config.network_latency_ms),
            )?;
            raw.check(
                "failure_domain",
                (c.dqlite_node_set_failure_domain)(node, config.failure_domain),
            )?;
            if let Some(on) = config.auto_recovery {
                raw.check("auto_recovery", (c.dqlite_node_set_auto_recovery)(node, on))?;
            }
            if let Some(bytes) = config.block_size_bytes {
                let code = (c.dqlite_node_set_block_size)(node, bytes as usize);
                raw.check("block_size_bytes", code)?;
            }
            if let Some(on) = compression(config) {
                let code = (c.dqlite_node_set_snapshot_compression)(node, on);
                raw.check("snapshot_compression", code)?;
            }
        }
        self.set_busy_timeout(c, config.busy_timeout_ms)?;
        self.set_snapshots(c, config)
    }

    fn set_busy_timeout(&self, c: &Symbols, timeout_ms: u32) -> Result<(), EngineError> {
        let Some(set) = c.dqlite_node_set_busy_timeout else {
            return match timeout_ms {
                0 | BUSY_TIMEOUT_DEFAULT_MS => Ok(()),
                _ => Err(self.lacks("busy_timeout_ms")),
            };
        };
        // SAFETY: created and not started.
        self.raw.check("busy_timeout_ms", unsafe {
            set(self.raw.node(), timeout_ms)
        })
    }

    fn set_snapshots(&self, c: &Symbols, config: &EngineConfig) -> Result<(), EngineError> {
        let (threshold, trailing) = (config.snapshot_threshold, config.snapshot_trailing);
        let node = self.raw.node();
        // SAFETY: created and not started.
        let code = unsafe {
            if config.snapshot_trailing_dynamic {
                let set = c
                    .dqlite_node_set_snapshot_params_v2
                    .ok_or_else(|| self.lacks("snapshot_trailing_strategy=dynamic"))?;
                set(node, threshold, trailing, SNAPSHOT_TRAILING_DYNAMIC)
            } else {
                (c.dqlite_node_set_snapshot_params)(node, threshold, trailing)
            }
        };
        self.raw
            .check("snapshot_threshold, snapshot_trailing", code)
    }

    fn lacks(&self, option: &'static str) -> EngineError {
        let library = self.raw.library();
        let (found, path) = (library.version(), library.path().display());
        let reason = format!(
            "needs engine >= {}, found {found} at {path}",
            Version::FLOOR
        );
        EngineError::usage(option, reason)
    }

    /// Binds the private listener: an abstract Unix socket that accepts this process only.
    pub fn bind(self) -> Result<Engine<Bound>, EngineError> {
        let raw = &self.raw;
        // SAFETY: created, not bound, not started; the text returned is the node's own, copied.
        let name = unsafe {
            let c = raw.library().symbols();
            raw.check(
                "bind",
                (c.dqlite_node_set_bind_address)(raw.node(), c"@".as_ptr()),
            )?;
            let address = (c.dqlite_node_get_bind_address)(raw.node());
            if address.is_null() {
                return Err(EngineError::usage(
                    "bind",
                    "the engine does not say where it listens",
                ));
            }
            CStr::from_ptr(address).to_string_lossy().into_owned()
        };
        let Some(name) = name.strip_prefix('@').map(str::to_owned) else {
            return Err(EngineError::usage(
                "bind",
                format!("the engine listens on {name}"),
            ));
        };
        Ok(Engine {
            raw: self.raw,
            state: Bound { name },
        })
    }
}

impl Engine<Bound> {
    /// Name of the engine's abstract Unix socket, without the leading `@` or NUL.
    pub fn abstract_name(&self) -> &str {
        &self.state.name
    }

    /// Starts the engine's threads; returns when it serves. Loading a large log takes its time.
    pub fn start(mut self) -> Result<Engine<Running>, EngineError> {
        let raw = &self.raw;
        // SAFETY: created, bound, not started; this call consumes the state.
        let code = unsafe { (raw.library().symbols().dqlite_node_start)(raw.node()) };
        raw.check("start", code)?;
        self.raw.is_running = true;
        Ok(Engine {
            raw: self.raw,
            state: Running {
                name: self.state.name,
            },
        })
    }
}

impl Engine<Running> {
    /// Name of the engine's abstract Unix socket, without the leading `@` or NUL.
    pub fn abstract_name(&self) -> &str {
        &self.state.name
    }

    /// Stops the node and frees it. Not bounded in time: a caller with a deadline calls it from a
    /// thread of its own and leaves the process when it is missed; the log makes that safe.
    pub fn stop(mut self) -> Result<(), EngineError> {
        let raw = &self.raw;
        // SAFETY: running; this call consumes the state, so it is the only stop.
        let code = unsafe { (raw.library().symbols().dqlite_node_stop)(raw.node()) };
        raw.check("stop", code)?;
        self.raw.is_running = false;
        Ok(())
    }
}

/// As configured, unless the snapshots that are there have the other form. A directory that cannot
/// be read is refused by the engine itself.
fn compression(config: &EngineConfig) -> Option<bool> {
    let newest = snapshot_form::look(&config.data_dir).ok().flatten();
    let choice = snapshot_form::choose(config.snapshot_compression, newest.as_deref());
    if choice.overrides {
        tracing::warn!(
            compression = choice.compression,
            "snapshot_compression is as in the snapshots that are there, which the engine could \
             not read otherwise"
        );
    }
    choice.compression
}

fn text(option: &'static str, bytes: &[u8]) -> Result<CString, EngineError> {
    CString::new(bytes).map_err(|_| EngineError::usage(option, "contains a NUL byte"))
}

/// The engine's connect function; runs on its worker threads.
unsafe extern "C" fn connect(arg: *mut c_void, address: *const c_char, fd: *mut c_int) -> c_int {
    let dialled = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `arg` is the dialler given at set-up, alive until the node is destroyed;
        // `address` is text for the length of this call.
        let (dialer, address) = unsafe { (&*arg.cast::<Dialer>(), CStr::from_ptr(address)) };
        let address = address.to_str().map_err(io::Error::other)?;
        dialer(address)
    }));
    match dialled {
        Ok(Ok(socket)) => {
            // SAFETY: the engine gives a place for the descriptor, and owns it from here on.
            unsafe { fd.write(socket.into_raw_fd()) };
            0
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "connect function");
            1
        }
        Err(_) => 1,
    }
}
