//! Options that were checked, in the form the supervisor uses.

use std::fs;
use std::path::{Path, PathBuf, absolute};
use std::process;
use std::time::Duration;

#[cfg(feature = "tls")]
use dqlite_client::tls::{Files, MinVersion};
use serde_json::Value;

use crate::control::{App, Options};
use crate::launch::{self, Launch};
use crate::node_error::{Complaint, NodeError, no_executable};
use crate::options::{self, For, complaints, crash_limit, known, wide};
use crate::restart::Policy;
use crate::supervisor::Plan;

/// The id with which a node may bootstrap a cluster of its own; go-dqlite's, too.
const BOOTSTRAP_ID: u64 = 0x2dc1_7185_8c31_55be;
/// The longest data directory that the engine takes.
const DATA_DIR_BYTES_MAX: usize = 894;

/// The options that are paths: this process may change its directory.
const PATHS: [&str; 7] = [
    "data_dir",
    "unix_socket",
    "tls_cert",
    "tls_key",
    "tls_ca",
    "engine",
    "executable",
];

/// What a node was told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) address: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) start_timeout: Duration,
    pub(crate) ready_grace: Duration,
    pub(crate) stop_timeout: Duration,
    pub(crate) handover_on_stop: bool,
    /// The addresses of all nodes.
    pub(crate) cluster: Vec<String>,
    node_id: Option<u64>,
    /// No other node is named.
    alone: bool,
    socket: Option<PathBuf>,
    executable: Option<PathBuf>,
    engine: Option<PathBuf>,
    env: Vec<(String, String)>,
    policy: Policy,
    app: App,
    /// What the node process is told.
    sent: Options,
}

impl Settings {
    /// Checks everything that can be checked without a look at the machine.
    pub(crate) fn new(mut options: Options, app: Option<App>) -> Result<Self, NodeError> {
        options.retain(|_, value| !value.is_null());
        let mut found = complaints(&options);
        for name in ["address", "data_dir"] {
            if !options.contains_key(name) {
                found.push(Complaint::missing(name));
            }
        }
        for name in PATHS {
            make_absolute(&mut options, name);
        }
        if let Some(data_dir) = options.get("data_dir")
            && data_dir
                .as_str()
                .is_some_and(|path| path.len() > DATA_DIR_BYTES_MAX)
        {
            let reason = format!("must be at most {DATA_DIR_BYTES_MAX} bytes as an absolute path");
            found.push(Complaint::new("data_dir", data_dir, reason));
        }
        if !found.is_empty() {
            return Err(NodeError::Config(found));
        }
        Ok(Self::checked(&options, app))
    }

    /// The node's certificate, for connections of the application that started it.
    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<Files> {
        let text = |name: &str| self.sent.get(name).and_then(Value::as_str);
        let files = Files::new(text("tls_ca")?).with_identity(text("tls_cert")?, text("tls_key")?);
        let files = match text("tls_server_name") {
            Some(name) => files.with_server_name(name),
            None => files,
        };
        Some(match text("tls_min_version") {
            Some("1.2") => files.with_min_version(MinVersion::Tls12),
            _ => files,
        })
    }

    fn checked(options: &Options, app: Option<App>) -> Self {
        let text = |name: &str| options.get(name).and_then(Value::as_str).map(str::to_owned);
        let path = |name: &str| text(name).map(PathBuf::from);
        let seconds = |name: &str, default: f64| {
            let given = options.get(name).and_then(Value::as_f64);
            Duration::from_secs_f64(given.unwrap_or(default))
        };
        let address = text("address").unwrap_or_default();
        let data_dir = path("data_dir").unwrap_or_default();
        let (crashes_max, window) = options
            .get("restart_limit")
            .and_then(crash_limit)
            .unwrap_or((5, 60.0));
        let socket = match options.get("unix_socket") {
            Some(Value::Bool(false)) => None,
            _ => Some(path("unix_socket").unwrap_or_else(|| data_dir.join("node.sock"))),
        };
        let env = options.get("env").and_then(Value::as_object);
        let cluster = options.get("cluster").and_then(Value::as_array).into_iter();
        let sent = options
            .iter()
            .filter(|(name, _)| known(name).is_some_and(|known| known.acts == For::Node))
            .map(|(name, value)| (name.clone(), value.clone()));
        Self {
            start_timeout: seconds("start_timeout", 30.0),
            ready_grace: seconds("ready_grace", 1.0),
            stop_timeout: seconds("stop_timeout", 10.0),
            handover_on_stop: options.get("handover_on_stop") != Some(&Value::Bool(false)),
            cluster: cluster
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            node_id: options.get("node_id").and_then(wide),
            alone: options::others(options, &address) == 0,
            socket,
            executable: path("executable"),
            engine: path("engine"),
            env: env
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            policy: Policy {
                restart: text("restart").as_deref() != Some("never"),
                crashes_max,
                window: Duration::from_secs_f64(window),
            },
            app: app.unwrap_or_else(this_app),
            sent: sent.collect(),
            address,
            data_dir,
        }
    }

    /// Everything the supervisor needs; looks for the executable.
    pub(crate) fn plan(&self, start_timeout: Duration) -> Result<Plan, NodeError> {
        let executable = launch::find(self.executable.as_deref()).map_err(no_executable)?;
        Ok(Plan {
            launch: Launch {
                executable,
                engine: self.engine.clone(),
                env: self.env.clone(),
            },
            options: self.sent.clone(),
            app: self.app.clone(),
            start_timeout,
            policy: self.policy,
        })
    }

    /// Where to connect: with the node's own files, if it speaks TLS.
    pub(crate) fn url(&self) -> String {
        let text = |name: &str| self.sent.get(name).and_then(Value::as_str);
        let files = [
            ("ca", text("tls_ca")),
            ("cert", text("tls_cert")),
            ("key", text("tls_key")),
            ("server_name", text("tls_server_name")),
        ];
        let given = files
            .iter()
            .filter_map(|(name, value)| Some((name, (*value)?)));
        let parts: Vec<String> = given
            .map(|(name, value)| format!("{name}={}", escaped(value)))
            .collect();
        if parts.is_empty() {
            return format!("dqlite://{}", self.address);
        }
        format!("dqlites://{}/?{}", self.address, parts.join("&"))
    }

    /// The executable in words, for an error about it.
    pub(crate) fn named_executable(&self) -> String {
        let found = launch::find(self.executable.as_deref());
        found.map_or_else(
            |_| "the executable".to_owned(),
            |path| path.display().to_string(),
        )
    }

    pub(crate) fn socket_path(&self) -> Option<PathBuf> {
        self.socket.clone()
    }

    /// The id that the node has, or is certain to get.
    pub(crate) fn known_id(&self) -> Option<u64> {
        let stored = || stored_id(&self.data_dir.join("info.yaml"));
        self.node_id
            .or_else(stored)
            .or(self.alone.then_some(BOOTSTRAP_ID))
    }
}

/// The id in a file as go-dqlite and our node write it.
fn stored_id(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("ID:"))?;
    id.trim().parse().ok()
}

/// A value in a URL.
fn escaped(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    value
        .bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// A path must mean the same after the application changed its working directory.
fn make_absolute(options: &mut Options, name: &str) {
    let Some(Value::String(path)) = options.get_mut(name) else {
        return;
    };
    if let Ok(whole) = absolute(&*path)
        && let Some(whole) = whole.to_str()
    {
        whole.clone_into(path);
    }
}

fn this_app() -> App {
    App {
        pid: process::id(),
        name: "rust".into(),
        version: env!("CARGO_PKG_VERSION").into(),
    }
}
