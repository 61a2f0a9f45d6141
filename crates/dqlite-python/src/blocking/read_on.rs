//! Reading on in a result that is given out while it comes.

use std::time::Instant;

use dqlite_proto::Progress;
use pyo3::prelude::*;

use super::exchange::Ended;
use super::{Borrowed, duration};
use crate::connection::Connection;
use crate::errors::{self, Loss};
use crate::stream::Stream;
use crate::streaming;

/// Reads on until there is something to take from a stream.
pub(crate) fn wait_more(
    connection: &Connection,
    py: Python<'_>,
    stream: &Bound<'_, Stream>,
    timeout: Option<f64>,
) -> PyResult<()> {
    connection.affinity.check_process(py)?;
    let stream = stream.get();
    if stream.is_ready(py) {
        return Ok(());
    }
    let seconds = timeout.unwrap_or_default();
    let until = timeout.map(|seconds| Instant::now() + duration(seconds));
    let mut borrowed = Borrowed::new(connection, py)?;
    match borrowed.next_event(py, until, Some(stream)) {
        Ok(_) => Ok(()),
        Err(Ended::Raised(error)) => Err(error),
        Err(Ended::TimedOut) => Err(errors::drained_too_long(py, &connection.address, seconds)),
        Err(Ended::Interrupted) => {
            drop(borrowed);
            Err(end(connection, py, stream))
        }
        Err(Ended::Lost(why)) => {
            let link = borrowed.link.take();
            if why.must_park() {
                std::mem::forget(link);
            }
            let streams = std::mem::take(&mut connection.inner().streams);
            streaming::lose_all(py, streams, &why, &connection.address);
            Ok(())
        }
    }
}

/// Gives a stream up whose reader was interrupted; says so now, and to who reads on.
fn end(connection: &Connection, py: Python<'_>, stream: &Stream) -> PyErr {
    let why = &Loss::Interrupted;
    let mut inner = connection.inner();
    let streams = &inner.streams;
    let at = streams
        .iter()
        .position(|one| std::ptr::eq(one.stream.get(), stream));
    let Some(left) = at.and_then(|at| inner.streams.remove(at)) else {
        drop(inner);
        return errors::interrupted(py, Some(&connection.address));
    };
    inner.abandon_read(left.ticket);
    inner.transaction.doubt();
    if let Some(link) = inner.link() {
        // What ends the statement should go out now; who comes next sees what is wrong.
        let _ = link.flush();
    }
    drop(inner);
    let error = left
        .call
        .loss(py, Progress::Streaming, why, &connection.address);
    stream.fail(py, error.clone_ref(py));
    error
}
