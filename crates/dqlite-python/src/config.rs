//! Where to connect: `Config`, parsed and checked by the client.

use std::sync::Arc;
use std::time::Duration;

use dqlite_client::tls::{Files, Source, Tls, TlsError};
use dqlite_client::{Address, Config as ClientConfig};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::connection::Suspects;
use crate::errors;

/// Bytes set aside where nothing is said about that.
const ASIDE_BYTES: usize = 64 << 20;

/// Where to connect, parsed and checked; a bad target is a `ProgrammingError`.
#[pyclass(frozen, module = "dqlite._native")]
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) client: ClientConfig,
    pub(crate) bounds: Bounds,
    pub(crate) suspects: Arc<Suspects>,
}

/// How much a session keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Statements that are kept prepared.
    pub(crate) statements: usize,
    /// Rows that one statement may give.
    pub(crate) rows: usize,
    /// Bytes that are set aside while a later statement waits for its answer.
    pub(crate) aside: usize,
}

#[pymethods]
impl Config {
    /// `target` is a URL, a list of hosts (a Unix socket as a pair of its path and the address of
    /// the node behind it), or None for the environment.
    #[new]
    #[pyo3(signature = (
        target, *, database = None, connect_timeout = None, tls = None,
        statements = 0, max_rows = None, max_frame_bytes = None, max_buffered_bytes = None
    ))]
    #[expect(
        clippy::too_many_arguments,
        reason = "they are as many as there are options"
    )]
    fn new(
        target: &Bound<'_, PyAny>,
        database: Option<&str>,
        connect_timeout: Option<f64>,
        tls: Option<&Bound<'_, PyAny>>,
        statements: usize,
        max_rows: Option<usize>,
        max_frame_bytes: Option<usize>,
        max_buffered_bytes: Option<usize>,
    ) -> PyResult<Self> {
        let py = target.py();
        let parsed = if target.is_none() {
            ClientConfig::from_env()
        } else if let Ok(url) = target.cast::<PyString>() {
            ClientConfig::parse(url.to_str()?)
        } else {
            ClientConfig::new(hosts(target)?).check()
        };
        let mut client = parsed.map_err(|error| errors::client(py, &error))?;
        if let Some(tls) = tls.map(security).transpose()?.flatten() {
            client = client.with_tls(tls);
        }
        if let Some(database) = database {
            client = client.with_database(database);
        }
        if let Some(seconds) = connect_timeout.map(Duration::try_from_secs_f64) {
            let timeout = seconds.map_err(|error| {
                errors::programming(py, format!("connect_timeout is no time: {error}"))
            })?;
            client = client.with_connect_timeout(timeout);
        }
        if let Some(bytes) = max_frame_bytes {
            let limits = &mut client.limits;
            (limits.reply_bytes_max, limits.request_bytes_max) = (bytes, bytes);
        }
        let bounds = Bounds {
            statements,
            rows: max_rows.unwrap_or(usize::MAX),
            aside: max_buffered_bytes.unwrap_or(ASIDE_BYTES),
        };
        let client = client.check().map_err(|error| errors::client(py, &error))?;
        Ok(Self {
            client,
            bounds,
            suspects: Arc::default(),
        })
    }

    #[getter]
    fn hosts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.client.hosts.iter().map(Address::canonical))
    }

    #[getter]
    fn database(&self) -> &str {
        &self.client.database
    }

    #[getter]
    fn timeout(&self) -> f64 {
        self.client.timeout.as_secs_f64()
    }

    #[getter]
    fn connect_timeout(&self) -> f64 {
        self.client.connect_timeout.as_secs_f64()
    }
}

type Part = Option<Given>;

/// A path, or the text of a file.
#[derive(FromPyObject)]
enum Given {
    Path(String),
    Pem(Vec<u8>),
}

impl From<Given> for Source {
    fn from(given: Given) -> Self {
        match given {
            Given::Path(path) => Self::Path(path.into()),
            Given::Pem(text) => Self::Pem(text),
        }
    }
}

/// Reads what was said about TLS: files, or that the environment or the system decides.
fn security(said: &Bound<'_, PyAny>) -> PyResult<Option<Tls>> {
    let py = said.py();
    let wrong = |error: TlsError| errors::programming(py, error.to_string());
    if let Ok(wanted) = said.extract::<bool>() {
        return wanted
            .then(|| Tls::from_environment().map_err(wrong))
            .transpose();
    }
    let Ok((Some(ca), cert, key, server_name)) =
        said.extract::<(Part, Part, Part, Option<String>)>()
    else {
        let text = "tls must be a TLS, True, or None";
        return Err(errors::programming(py, text.to_owned()));
    };
    let files = Files {
        cert: cert.map(Source::from),
        key: key.map(Source::from),
        server_name,
        ..Files::new(ca)
    };
    Tls::load(files).map(Some).map_err(wrong)
}

/// Reads a list of hosts; a pair is a Unix socket and the address of its node.
pub(crate) fn hosts(list: &Bound<'_, PyAny>) -> PyResult<Vec<Address>> {
    let py = list.py();
    let parse = |text: &str| Address::parse(text).map_err(|error| errors::client(py, &error));
    let mut hosts = Vec::new();
    for host in list.try_iter()? {
        let host = host?;
        hosts.push(match host.extract::<(String, String)>() {
            Ok((path, address)) => Address::unix(path, Some(parse(&address)?)),
            Err(_) => parse(&host.extract::<String>()?)?,
        });
    }
    Ok(hosts)
}
