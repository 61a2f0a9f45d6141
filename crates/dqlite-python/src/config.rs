//! Where to connect: `Config`, parsed and checked by the client.

use std::time::Duration;

use dqlite_client::{Address, Config as ClientConfig};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::errors;

/// Where to connect, parsed and checked; a bad target is a `ProgrammingError`.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct Config {
    pub(crate) client: ClientConfig,
}

#[pymethods]
impl Config {
    /// `target` is a URL, a list of hosts (a Unix socket as a pair of its path and the address of
    /// the node behind it), or None for the environment.
    #[new]
    #[pyo3(signature = (target, *, database = None, connect_timeout = None))]
    fn new(
        target: &Bound<'_, PyAny>,
        database: Option<&str>,
        connect_timeout: Option<f64>,
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
        if let Some(database) = database {
            client = client.with_database(database);
        }
        if let Some(seconds) = connect_timeout.map(Duration::try_from_secs_f64) {
            let timeout = seconds.map_err(|error| {
                errors::programming(py, format!("connect_timeout is no time: {error}"))
            })?;
            client = client.with_connect_timeout(timeout);
        }
        let client = client.check().map_err(|error| errors::client(py, &error))?;
        Ok(Self { client })
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
