//! The native module of the Python package `dqlite`: sockets, wire bytes and rows, without a
//! runtime and without a thread that touches Python.
//!
//! ```text
//! connection   one server session over one socket: state, face to Python
//!   blocking   sync calls: poll with the GIL released
//!   ready      the event loop's callbacks, futures
//!   deadline   cancelled and overdue calls, one timer for all
//!   answer     the future of a statement
//!   call       one statement on its way
//!   batch      one statement with many sets of parameters; `many` is its side of the loop
//!   stream     a result that is read while it comes; `streaming` reads on and stops
//!   lane       whose turn it is, and the short way of a statement
//! encode, decode, temporal, record, projection, statement, transaction: values and bookkeeping
//! config, dial   where to connect, and finding the leader
//! arrow          results and tables in the memory of data frames
//! cluster, node  administration, supervised nodes
//! wire           messages, for tools
//! ```

mod affinity;
mod answer;
mod arrow;
mod batch;
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
mod lane;
mod lots;
mod many;
mod node;
mod projection;
mod ready;
mod record;
mod statement;
mod stream;
mod streaming;
mod temporal;
mod transaction;
mod wire;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<answer::Answer>()?;
    module.add_class::<arrow::ArrowSchema>()?;
    module.add_class::<arrow::ArrowTable>()?;
    module.add_class::<arrow::Encoded>()?;
    module.add_class::<arrow::Loader>()?;
    module.add_function(wrap_pyfunction!(arrow::arrow_stream, module)?)?;
    module.add_class::<cluster::Admin>()?;
    module.add_class::<config::Config>()?;
    module.add_class::<connection::Connection>()?;
    module.add_class::<dial::Dial>()?;
    module.add_class::<lane::Lane>()?;
    module.add_class::<node::Node>()?;
    module.add_class::<node::NodeEvents>()?;
    module.add_class::<projection::Projection>()?;
    module.add_class::<projection::Result>()?;
    module.add_class::<record::Record>()?;
    module.add_class::<stream::Stream>()?;
    module.add_function(wrap_pyfunction!(dial::dial_blocking, module)?)?;
    module.add_function(wrap_pyfunction!(errors::code_name, module)?)?;
    module.add_function(wrap_pyfunction!(errors::code_names, module)?)?;
    module.add_function(wrap_pyfunction!(node::stop_nodes, module)?)?;
    module.add_function(wrap_pyfunction!(statement::is_complete, module)?)?;
    module.add_function(wrap_pyfunction!(statement::parameters, module)?)?;
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
