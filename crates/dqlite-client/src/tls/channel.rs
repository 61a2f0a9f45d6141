//! TLS over a socket that never blocks: the state of one connection, driven by who owns it.

use std::io::{self, BufRead as _, IoSlice, Read as _, Write};

use bytes::BytesMut;
use rustls::ClientConnection;
use socket2::Socket;

use super::witness::Seen;
use super::{Identity, TlsError};

/// How many of the first bytes an error shows.
const SHOWN_MAX: usize = 8;
/// The content types with which every message of TLS begins.
const CONTENT_TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// A connection's TLS. No byte of the caller leaves before the server is verified.
pub(crate) struct Channel {
    tls: ClientConnection,
    seen: Seen,
    /// What came first, for the error that it is no TLS.
    first: Vec<u8>,
    /// An error that came behind bytes which are to be read before it.
    failed: Option<TlsError>,
    /// Only this process may say goodbye: the keys of a forked child are used up by its parent.
    process: u32,
}

impl Channel {
    /// Begins a handshake with a server that was dialled as `host`.
    pub(crate) fn client(identity: &Identity, host: &str) -> Result<Self, TlsError> {
        let (config, seen) = identity.client()?;
        let tls = ClientConnection::new(config, identity.name(host)?)
            .map_err(|error| TlsError::of(&error, None))?;
        Ok(Self {
            tls,
            seen,
            first: Vec::new(),
            failed: None,
            process: std::process::id(),
        })
    }

    /// Whether the server is verified.
    pub(crate) fn is_open(&self) -> bool {
        !self.tls.is_handshaking()
    }

    /// Takes bytes of the caller and hands what it can to the kernel. An error means that these
    /// bytes did not leave as a whole.
    pub(crate) fn send(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        if !self.flush(socket)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = self.tls.writer().write(bytes)?;
        self.flush(socket)?;
        Ok(taken)
    }

    /// Hands to the kernel what waits; `false` when some is left.
    pub(crate) fn flush(&mut self, socket: &Socket) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Silent(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads until there is something for the caller, appends it to `input` and says how much;
    /// 0 at the end. Nothing that could be read now stays behind in here.
    pub(crate) fn fill(
        &mut self,
        socket: &Socket,
        scratch: &mut [u8],
        input: &mut BytesMut,
    ) -> io::Result<usize> {
        loop {
            if let Some(failed) = self.failed.take() {
                return Err(failed.into_io());
            }
            let read = (&mut &*socket).read(scratch)?;
            let Some(bytes) = scratch.get(..read).filter(|bytes| !bytes.is_empty()) else {
                return self.ended();
            };
            let before = input.len();
            let open = self.feed(bytes, input);
            // A handshake goes on, a key is updated, or the peer is told what is wrong.
            let flushed = self.flush(socket);
            let brought = input.len() - before;
            match open {
                Err(failed) if brought > 0 => self.failed = Some(failed),
                Err(failed) => return Err(failed.into_io()),
                Ok(false) if brought == 0 => return Ok(0),
                Ok(_) => {}
            }
            if brought > 0 {
                return Ok(brought);
            }
            flushed?;
        }
    }

    /// Says goodbye, if that needs no waiting.
    pub(crate) fn close(&mut self, socket: &Socket) {
        if self.process == std::process::id() && self.is_open() {
            self.tls.send_close_notify();
            // Nobody is owed more than the attempt.
            let _ = self.flush(socket);
        }
    }

    /// Decrypts; `false` when the peer has said goodbye.
    fn feed(&mut self, mut bytes: &[u8], input: &mut BytesMut) -> Result<bool, TlsError> {
        let room = SHOWN_MAX.saturating_sub(self.first.len());
        self.first.extend(bytes.iter().take(room));
        while !bytes.is_empty() {
            match self.tls.read_tls(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) => return Err(TlsError::new(error.to_string())),
            }
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    self.drain(input);
                    return Err(self.explain(&error));
                }
            };
            if state.plaintext_bytes_to_read() > 0 {
                self.drain(input);
            }
            if state.peer_has_closed() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn drain(&mut self, input: &mut BytesMut) {
        let mut reader = self.tls.reader();
        while let Ok(chunk) = reader.fill_buf() {
            let length = chunk.len();
            if length == 0 {
                return;
            }
            input.extend_from_slice(chunk);
            reader.consume(length);
        }
    }

    fn explain(&self, error: &rustls::Error) -> TlsError {
        let foreign = self
            .first
            .first()
            .is_some_and(|first| !CONTENT_TYPES.contains(first));
        if foreign {
            return speaks_no_tls(&self.first);
        }
        TlsError::of(error, self.seen.get())
    }

    fn ended(&self) -> io::Result<usize> {
        if self.is_open() {
            return Ok(0);
        }
        Err(TlsError::closed().into_io())
    }
}

/// What somebody says who speaks no TLS.
pub(super) fn speaks_no_tls(first: &[u8]) -> TlsError {
    let shown: Vec<String> = first.iter().map(|byte| format!("{byte:02x}")).collect();
    TlsError::new(format!(
        "peer speaks no TLS (first bytes {})",
        shown.join(" ")
    ))
}

/// A socket whose end is an error and not a signal.
struct Silent<'a>(&'a Socket);

impl Write for Silent<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_with_flags(bytes, nix::libc::MSG_NOSIGNAL)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0
            .send_vectored_with_flags(parts, nix::libc::MSG_NOSIGNAL)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}
