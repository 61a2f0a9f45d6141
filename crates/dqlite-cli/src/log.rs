//! What the node logs, on stderr, from a level that can be changed.

use std::io;
use std::sync::OnceLock;

use dqlite_node::config::LogLevel;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Logs from now on; to be called once.
pub(crate) fn to_stderr(level: LogLevel) {
    let (filter, handle) = reload::Layer::new(match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    });
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(false);
    let all = tracing_subscriber::registry().with(filter);
    all.with(lines.with_target(false)).init();
    // A second call would have failed above.
    let _ = LEVEL.set(handle);
}

/// Logs what is at least as grave as `level`.
pub(crate) fn set_level(level: &str) -> Result<(), String> {
    let filter = match level {
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        other => {
            return Err(format!(
                "log_level = {other}: must be one of error, warn, info, debug, trace"
            ));
        }
    };
    let handle = LEVEL.get().ok_or("nothing is logged yet")?;
    handle.reload(filter).map_err(|reason| reason.to_string())
}
