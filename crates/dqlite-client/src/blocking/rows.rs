//! Rows as they come.

use std::vec;

use crate::body::{Body, Stream};
use crate::driver::now;
use crate::error::Result;
use crate::fd::Link;
use crate::row::Row;
use crate::statement::Plan;

/// The rows of a query, handed out as they come from the server.
///
/// No more than one reply of about 4 KiB, or one row if that is larger, and what the kernel
/// buffers are held: a server whose rows nobody asks for waits. Each wait for rows has a deadline
/// of its own. Dropped before its end, the query is ended as a call whose deadline has passed.
///
/// For a write with RETURNING only the end makes it durable: rows that came before may still be
/// withdrawn by an error.
///
/// ```no_run
/// # use dqlite_client::{blocking::Connection, Result};
/// # fn example(connection: &mut Connection) -> Result<()> {
/// for row in connection.query_stream("SELECT id FROM t", ())? {
///     println!("{}", row?.get::<i64>(0)?);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Rows<'c> {
    body: &'c mut Body<Link>,
    stream: Stream,
    ready: vec::IntoIter<Row>,
}

impl<'c> Rows<'c> {
    pub(super) fn start(body: &'c mut Body<Link>, plan: Plan<'static>) -> Result<Self> {
        let stream = now(body.stream(plan))?;
        Ok(Self {
            body,
            stream,
            ready: Vec::new().into_iter(),
        })
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        loop {
            if let Some(row) = self.ready.next() {
                return Some(Ok(row));
            }
            if self.stream.has_ended() {
                return None;
            }
            match now(self.body.next_chunk(&mut self.stream)) {
                Ok(chunk) => self.ready = chunk.rows.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        self.body.leave(&self.stream);
    }
}
