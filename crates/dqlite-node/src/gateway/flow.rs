//! Bytes between a stream and a bounded buffer.

use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

pub(super) const READ_BYTES: usize = 16 << 10;
pub(super) const READ_BYTES_MAX: usize = 64 << 10;
/// A buffer that has grown beyond this for one message is given back.
const KEPT_BYTES: usize = 256 << 10;

/// Reads what there is; 0 at the end of the stream.
pub(super) fn poll_fill<S: AsyncRead + Unpin>(
    from: &mut S,
    buffer: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    trim(buffer);
    if buffer.capacity() == buffer.len() {
        buffer.reserve(buffer.len().clamp(READ_BYTES, READ_BYTES_MAX));
    }
    pin!(from.read_buf(buffer)).poll(context)
}

/// Writes what the stream takes.
pub(super) fn poll_drain<S: AsyncWrite + Unpin>(
    to: &mut S,
    buffer: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut taken = 0;
    while !buffer.is_empty() {
        match Pin::new(&mut *to).poll_write(context, buffer) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => {
                buffer.advance(written);
                taken += written;
            }
            Poll::Ready(Err(reason)) => return Poll::Ready(Err(reason)),
            Poll::Pending if taken == 0 => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    if buffer.is_empty() {
        trim(buffer);
        // TLS holds bytes back until then.
        if let Poll::Ready(Err(reason)) = Pin::new(to).poll_flush(context) {
            return Poll::Ready(Err(reason));
        }
    }
    Poll::Ready(Ok(taken))
}

/// Gives the memory of a large message back.
pub(super) fn trim(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > KEPT_BYTES {
        *buffer = BytesMut::new();
    }
}
