//! Rows as a stream, for the combinators of the futures crates.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::FusedStream;

use super::Rows;
use crate::error::Result;
use crate::row::Row;

type Waiting<'c> = Pin<Box<dyn Future<Output = (Rows<'c>, Result<Option<Row>>)> + Send + 'c>>;

impl<'c> Rows<'c> {
    /// The rows as a [`Stream`]. It reads on only when it is polled and has handed out what it
    /// has: the server waits as it does for [`next`](Self::next). It ends behind the first error.
    /// Dropped before its end, the query is ended.
    ///
    /// ```
    /// use dqlite_client::{Connection, Result};
    /// use futures_util::TryStreamExt;
    ///
    /// # async fn example(connection: &mut Connection) -> Result<()> {
    /// let rows = connection.query_stream("SELECT size FROM file", ()).await?;
    /// let sizes = rows.into_stream().and_then(async |row| row.get::<i64>(0));
    /// let total: i64 = sizes.try_fold(0, async |sum, size| Ok(sum + size)).await?;
    /// # Ok(()) }
    /// ```
    pub fn into_stream(self) -> RowStream<'c> {
        RowStream(State::Rows(self))
    }
}

/// The rows of a query as a stream; see [`Rows::into_stream`].
pub struct RowStream<'c>(State<'c>);

#[expect(
    clippy::large_enum_variant,
    reason = "it moves once for each reply, not for each row"
)]
enum State<'c> {
    Rows(Rows<'c>),
    Waiting(Waiting<'c>),
    Over,
}

impl Stream for RowStream<'_> {
    type Item = Result<Row>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut waiting = match std::mem::replace(&mut self.0, State::Over) {
            State::Over => return Poll::Ready(None),
            State::Waiting(waiting) => waiting,
            State::Rows(mut rows) => {
                if let Some(row) = rows.take_ready() {
                    self.0 = State::Rows(rows);
                    return Poll::Ready(Some(Ok(row)));
                }
                Box::pin(async move {
                    let row = rows.next().await;
                    (rows, row)
                })
            }
        };
        match waiting.as_mut().poll(cx) {
            Poll::Pending => {
                self.0 = State::Waiting(waiting);
                Poll::Pending
            }
            Poll::Ready((rows, Ok(Some(row)))) => {
                self.0 = State::Rows(rows);
                Poll::Ready(Some(Ok(row)))
            }
            Poll::Ready((_, row)) => Poll::Ready(row.transpose()),
        }
    }
}

impl FusedStream for RowStream<'_> {
    fn is_terminated(&self) -> bool {
        matches!(self.0, State::Over)
    }
}

impl std::fmt::Debug for RowStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowStream").finish_non_exhaustive()
    }
}
