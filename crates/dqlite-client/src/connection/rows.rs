//! Rows as they come.

use std::vec;

use crate::body::{Body, Stream};
use crate::error::Result;
use crate::row::Row;
use crate::statement::Plan;
use crate::wire::Wire;

/// The rows of a query, handed out as they come from the server.
///
/// No more than one reply of about 4 KiB, or one row if that is larger, and what the kernel
/// buffers are held: a server whose rows nobody asks for waits. Each wait for rows has a deadline
/// of its own. Dropped before its end, the query is ended as a call that is given up.
///
/// For a write with RETURNING only the end makes it durable: rows that came before may still be
/// withdrawn by an error.
///
/// ```no_run
/// # use dqlite_client::{Connection, Result};
/// # async fn example(connection: &mut Connection) -> Result<()> {
/// let mut rows = connection.query_stream("SELECT id FROM t", ()).await?;
/// while let Some(row) = rows.next().await? {
///     println!("{}", row.get::<i64>(0)?);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Rows<'c> {
    body: &'c mut Body<Wire>,
    stream: Stream,
    ready: vec::IntoIter<Row>,
}

impl<'c> Rows<'c> {
    pub(super) async fn start(body: &'c mut Body<Wire>, plan: Plan<'static>) -> Result<Self> {
        let stream = body.stream(plan).await?;
        Ok(Self {
            body,
            stream,
            ready: Vec::new().into_iter(),
        })
    }

    /// The next row, if it is here already.
    pub(super) fn take_ready(&mut self) -> Option<Row> {
        self.ready.next()
    }

    /// The next row; `None` behind the last one, and behind an error. Its future must not be
    /// dropped: that gives the query up.
    pub async fn next(&mut self) -> Result<Option<Row>> {
        loop {
            if let Some(row) = self.take_ready() {
                return Ok(Some(row));
            }
            if self.stream.has_ended() {
                return Ok(None);
            }
            self.ready = self
                .body
                .next_chunk(&mut self.stream)
                .await?
                .rows
                .into_iter();
        }
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        self.body.leave(&self.stream);
    }
}
