//! `dqlite engine info`: which engine a node would run on, and whether it would.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use dqlite_node::engine::{self, Bundle, Found, Library, LocateOptions};
use serde_json::{Value, json};

/// What to do with engines.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Engine {
    /// Find, load and prove the engine that a node would run on.
    Info(Info),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Info {
    /// The engine: a bundle directory or a libdqlite.so.
    #[arg(long, value_name = "PATH")]
    engine: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command. The process may be replaced by one under the bundle's loader.
pub(crate) fn run(command: &Engine) -> ExitCode {
    let Engine::Info(options) = command;
    let (report, usable) = match look(options) {
        Ok((found, library)) => (describe(&found, library), true),
        Err((error, tried)) => {
            eprintln!("dqlite: {error}");
            (json!({ "error": error, "tried": places(&tried) }), false)
        }
    };
    let text = match (options.json, usable) {
        (true, _) => format!("{report:#}\n"),
        (false, true) => plain(&report),
        (false, false) => String::new(),
    };
    let printed = io::stdout().write_all(text.as_bytes());
    if usable && printed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

type Tried = Vec<(String, String)>;

fn look(options: &Info) -> Result<(Found, &'static Library), (String, Tried)> {
    let found = engine::locate(&LocateOptions {
        explicit: options.engine.clone(),
    })
    .map_err(|error| (error.to_string(), error.tried))?;
    let tried = |error: String| (error, found.tried.clone());
    engine::reexec_through_bundle(&found).map_err(|error| tried(error.to_string()))?;
    let library = engine::open(&found).map_err(|error| tried(error.to_string()))?;
    Ok((found, library))
}

fn describe(found: &Found, library: &Library) -> Value {
    json!({
        "path": found.library,
        "place": found.place,
        "version": library.version().to_string(),
        "version_text": library.version_text(),
        "missing": library.missing(),
        "hooks": engine::hooks::HOOKED,
        "bundle": found.bundle.as_ref().map(bundle),
        "tried": places(&found.tried),
    })
}

fn bundle(bundle: &Bundle) -> Value {
    json!({
        "directory": bundle.directory,
        "loader": bundle.loader,
        "engine": bundle.engine,
        "suite": bundle.suite,
        "manifest": bundle.manifest,
    })
}

fn places(tried: &[(String, String)]) -> Value {
    tried
        .iter()
        .map(|(place, reason)| json!({ "place": place, "reason": reason }))
        .collect()
}

fn plain(report: &Value) -> String {
    let line = |(name, value): (&String, &Value)| match value {
        Value::Null | Value::Object(_) => None,
        Value::String(text) => Some(format!("{name:13}{text}\n")),
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let names: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            Some(format!("{name:13}{}\n", names.join(", ")))
        }
        Value::Array(items) => Some(items.iter().map(tried_line).collect()),
        other => Some(format!("{name:13}{other}\n")),
    };
    report
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(line)
        .collect()
}

fn tried_line(item: &Value) -> String {
    let part = |name| item.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{:13}{}: {}\n", "tried", part("place"), part("reason"))
}
