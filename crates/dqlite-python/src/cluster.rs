//! Blocking cluster administration for `dqlite.Client`: one dialled connection per call.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dqlite_client::blocking::{Admin as ClientAdmin, probe};
use dqlite_client::{Address, Config as ClientConfig, Error, ErrorKind, Role};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::affinity::Affinity;
use crate::blocking::duration;
use crate::config::Config;
use crate::errors::{self, Raise};

/// How long a signal may wait.
const SIGNALS_EVERY: Duration = Duration::from_millis(100);
/// How long a node that is to vote may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Cluster administration; see the stub for its contract.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct Admin {
    affinity: Affinity,
    config: ClientConfig,
    learned: Mutex<Vec<String>>,
}

#[pymethods]
impl Admin {
    #[new]
    fn new(config: &Config, timeout: f64) -> Self {
        let config = config.client.clone().with_timeout(duration(timeout));
        Self {
            affinity: Affinity::new("Client"),
            config,
            learned: Mutex::default(),
        }
    }

    /// Addresses given, then those learned.
    #[getter]
    fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<_> = self.config.hosts.iter().map(Address::canonical).collect();
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        for address in learned.iter() {
            if !hosts.contains(address) {
                hosts.push(address.clone());
            }
        }
        hosts
    }

    /// Id and address of the leader.
    fn leader(&self, py: Python<'_>) -> PyResult<(u64, String)> {
        let leader = self.ask(py, ClientAdmin::leader)?;
        Ok((leader.id, leader.address))
    }

    /// Id, address and role of each member.
    fn cluster(&self, py: Python<'_>) -> PyResult<Vec<(u64, String, u8)>> {
        let members = self.ask(py, ClientAdmin::cluster)?;
        let addresses = members
            .iter()
            .map(|member| member.address.clone())
            .collect();
        *self.learned.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
        Ok(members
            .into_iter()
            .map(|m| (m.id, m.address, number(m.role)))
            .collect())
    }

    /// Adds a node in a role. One that is to vote must answer, unless `force`.
    fn add(
        &self,
        py: Python<'_>,
        node_id: u64,
        address: String,
        role: u8,
        force: bool,
    ) -> PyResult<()> {
        let role = role_of(py, role)?;
        if role == Role::Voter && !force {
            self.check_answers(py, &address)?;
        }
        self.ask(py, move |admin| {
            if force {
                admin.forced();
            }
            admin.add(node_id, &address, role)
        })
    }

    fn assign(&self, py: Python<'_>, node_id: u64, role: u8) -> PyResult<()> {
        let role = role_of(py, role)?;
        self.ask(py, move |admin| admin.assign(node_id, role))
    }

    #[pyo3(signature = (node_id, force=false))]
    fn remove(&self, py: Python<'_>, node_id: u64, force: bool) -> PyResult<()> {
        self.ask(py, move |admin| {
            if force {
                admin.forced();
            }
            admin.remove(node_id)
        })
    }

    /// 0 lets the leader choose.
    fn transfer(&self, py: Python<'_>, node_id: u64) -> PyResult<()> {
        self.ask(py, move |admin| {
            admin.transfer((node_id != 0).then_some(node_id))
        })
    }

    /// Failure domain and weight of a node, the leader by default.
    fn describe(&self, py: Python<'_>, address: Option<String>) -> PyResult<(u64, u64)> {
        let metadata = self.ask(py, move |admin| {
            let address = address.map_or_else(|| admin.leader().map(|l| l.address), Ok)?;
            admin.describe(&address)
        })?;
        Ok((metadata.failure_domain, metadata.weight))
    }

    fn set_weight(&self, py: Python<'_>, weight: u64, address: Option<String>) -> PyResult<()> {
        self.ask(py, move |admin| {
            let address = address.map_or_else(|| admin.leader().map(|l| l.address), Ok)?;
            admin.weight(&address, weight)
        })
    }

    /// The files of a database, by name; of the leader, or the node at that address.
    #[pyo3(signature = (database, address=None))]
    fn dump<'py>(
        &self,
        py: Python<'py>,
        database: String,
        address: Option<String>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let files = self.ask(py, move |admin| match address {
            Some(address) => admin.dump_from(&address, &database),
            None => admin.dump(&database),
        })?;
        let dict = PyDict::new(py);
        for file in files {
            dict.set_item(file.name, PyBytes::new(py, &file.content))?;
        }
        Ok(dict)
    }
}

impl Admin {
    fn ask<T: Send + 'static>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(&mut ClientAdmin) -> Result<T, Error> + Send + 'static,
    ) -> PyResult<T> {
        self.affinity.check_process(py)?;
        let mut admin = ClientAdmin::new(&self.config);
        interruptible(py, move || question(&mut admin))?.map_err(|error| raise(py, &error))
    }

    fn check_answers(&self, py: Python<'_>, address: &str) -> PyResult<()> {
        let parsed = Address::advertised(address).map_err(|error| errors::client(py, &error))?;
        let config = self.config.clone();
        let answer = interruptible(py, move || {
            probe(&config, &parsed, Instant::now() + ANSWER_MAX)
        })?;
        answer.map(drop).map_err(|error| {
            let text = format!("no dqlite node answers at {address}: {error}");
            Raise::new(py, "ClusterError", text)
                .with("address", address)
                .error()
        })
    }
}

/// Runs in a thread without Python, so that a signal need not wait for the end. Work that is no
/// longer waited for ends by its own deadline.
fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    let (sender, mut receiver) = sync_channel(1);
    // Nobody listens any more if the answer cannot be sent.
    let run = move || drop(sender.send(work()));
    thread::Builder::new()
        .name("dqlite-admin".to_owned())
        .spawn(run)
        .map_err(|error| errors::interface(py, format!("start a thread: {error}")))?;
    loop {
        let waited = &mut receiver;
        match py.detach(move || waited.recv_timeout(SIGNALS_EVERY)) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(errors::interface(py, "the call ended without an answer"));
            }
        }
    }
}

/// A change that is refused is a `ClusterError`.
fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let refused = match error.kind() {
        ErrorKind::Usage => true,
        ErrorKind::Rejected => !error.is_retryable() && !errors::is_not_found(error),
        _ => false,
    };
    if refused {
        errors::client_as(py, "ClusterError", error)
    } else {
        errors::client(py, error)
    }
}

fn role_of(py: Python<'_>, number: u8) -> PyResult<Role> {
    Ok(match number {
        0 => Role::Voter,
        1 => Role::StandBy,
        2 => Role::Spare,
        _ => return Err(errors::programming(py, format!("{number} is no role"))),
    })
}

const fn number(role: Role) -> u8 {
    match role {
        Role::Voter => 0,
        Role::StandBy => 1,
        Role::Spare => 2,
    }
}
