//! The native module of the Python package `dqlite`: sockets, wire bytes and rows, without a
//! runtime and without a thread that touches Python.
//!
//! ```text
//! connection   one server session over one socket: state, face to Python
//!   blocking   sync calls: poll with the GIL released
//!   ready      the event loop's callbacks, futures
//!   deadline   cancelled and overdue calls, one timer for all
//!   call       one statement on its way
//! encode, decode, temporal, record, projection, statement, transaction: values and bookkeeping
//! config, dial   where to connect, and finding the leader
//! cluster, node  administration, supervised nodes
//! wire           messages, for tools
//! ```

mod affinity;
mod blocking;
mod call;
mod cluster;
mod config;
mod connection;
mod deadline;
mod decode;
mod dial;
mod encode;
mod errors;
mod node;
mod projection;
mod ready;
mod record;
mod statement;
mod temporal;
mod transaction;
mod wire;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<cluster::Admin>()?;
    module.add_class::<config::Config>()?;
    module.add_class::<connection::Connection>()?;
    module.add_class::<dial::Dial>()?;
    module.add_class::<node::Node>()?;
    module.add_class::<projection::Projection>()?;
    module.add_class::<projection::Result>()?;
    module.add_class::<record::Record>()?;
    module.add_function(wrap_pyfunction!(dial::dial_blocking, module)?)?;
    module.add_function(wrap_pyfunction!(node::stop_nodes, module)?)?;
    module.add_function(wrap_pyfunction!(statement::is_complete, module)?)?;
    module.add_function(wrap_pyfunction!(statement::split, module)?)?;
    module.add_function(wrap_pyfunction!(statement::split_lines, module)?)?;
    module.add_function(wrap_pyfunction!(statement::statement_kind, module)?)?;
    module.add_function(wrap_pyfunction!(statement::statement_verb, module)?)?;
    module.add(
        "HANDSHAKE",
        PyBytes::new(module.py(), &wire::HANDSHAKE_BYTES),
    )?;
    module.add_function(wrap_pyfunction!(wire::wire_decode, module)?)?;
    module.add_function(wrap_pyfunction!(wire::wire_encode, module)?)?;
    module.add_function(wrap_pyfunction!(wire::wire_trace, module)?)
}
