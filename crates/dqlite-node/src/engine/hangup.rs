//! Tells the engine at its first write that a peer is gone.
//!
//! *Engine*: streams to peers are only written to, so it learns that a peer has closed one by a
//! failed write. The first write after the peer's end still succeeds and its message is lost: the
//! vote for a node that has been started again, or the acknowledgement of its first entry. A
//! duplicate of each stream is watched here and shut down when the peer hangs up; then the first
//! write fails and the engine dials anew at once.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Streams under watch, one for each address: the engine has one stream for each peer.
#[derive(Clone)]
pub(super) struct HangUps {
    inbox: Arc<Mutex<Option<Inbox>>>,
}

struct Inbox {
    streams: Sender<(String, TcpStream)>,
    wake: UnixStream,
}

impl HangUps {
    /// Nothing is watched, and no thread runs, before the first stream.
    pub(super) fn new() -> Self {
        Self {
            inbox: Arc::default(),
        }
    }

    /// Watches `stream`, in place of the one that led to `address` before.
    pub(super) fn watch(&self, address: &str, stream: &TcpStream) -> io::Result<()> {
        let duplicate = stream.try_clone()?;
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let inbox = match &mut *inbox {
            Some(inbox) => inbox,
            empty => empty.insert(start()?),
        };
        let sent = inbox.streams.send((address.to_owned(), duplicate));
        sent.map_err(|_| io::Error::other("the watch of streams has ended"))?;
        inbox.wake.write_all(&[0])
    }
}

fn start() -> io::Result<Inbox> {
    let (wake, woken) = UnixStream::pair()?;
    woken.set_nonblocking(true)?;
    let (streams, arriving) = channel();
    thread::Builder::new()
        .name("dqlite-hang-up".into())
        .spawn(move || run(woken, &arriving))?;
    Ok(Inbox { streams, wake })
}

/// Ends when nobody can add streams any more.
fn run(mut woken: UnixStream, arriving: &Receiver<(String, TcpStream)>) {
    let mut watched: HashMap<String, TcpStream> = HashMap::new();
    loop {
        match woken.read(&mut [0; 64]) {
            Ok(0) => return,
            Err(reason) if reason.kind() != io::ErrorKind::WouldBlock => return,
            _ => {}
        }
        watched.extend(arriving.try_iter());
        let mut fds = vec![PollFd::new(woken.as_fd(), PollFlags::POLLIN)];
        // Messages go one way only: something to read is the end.
        let streams = watched.values().map(AsFd::as_fd);
        fds.extend(streams.map(|stream| PollFd::new(stream, PollFlags::POLLIN)));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        let ended: Vec<bool> = fds.iter().skip(1).map(has_ended).collect();
        let mut ended = ended.into_iter();
        watched.retain(|_, stream| {
            let ended = ended.next().unwrap_or(false);
            if ended {
                // Fails when the connection is reset, which tells the engine as well.
                stream.shutdown(Shutdown::Both).ok();
            }
            !ended
        });
    }
}

fn has_ended(fd: &PollFd<'_>) -> bool {
    fd.any() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    /// Waits until writes fail, without writing before that.
    fn first_write_fails(stream: &mut TcpStream) {
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
            poll(&mut fds, PollTimeout::ZERO).unwrap();
            let events = fds[0].revents().unwrap();
            if events.contains(PollFlags::POLLHUP) {
                break;
            }
            assert!(Instant::now() < deadline, "{events:?}");
            thread::yield_now();
        }
        let reason = stream.write(&[0; 8]).unwrap_err();
        assert_eq!(reason.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn the_first_write_after_the_end_of_a_peer_fails() {
        let hang_ups = HangUps::new();
        let (mut first, first_peer) = pair();
        let (mut second, mut second_peer) = pair();
        hang_ups.watch("one:1", &first).unwrap();
        hang_ups.watch("two:1", &second).unwrap();
        drop(first_peer);
        first_write_fails(&mut first);

        second.write_all(&[7]).unwrap();
        let mut one = [0];
        second_peer.read_exact(&mut one).unwrap();
        assert_eq!(one, [7]);
        drop(second_peer);
        first_write_fails(&mut second);
    }

    #[test]
    fn a_new_stream_to_an_address_replaces_the_old_one() {
        let hang_ups = HangUps::new();
        let (old, mut old_peer) = pair();
        let (mut new, new_peer) = pair();
        hang_ups.watch("one:1", &old).unwrap();
        drop(old);
        hang_ups.watch("one:1", &new).unwrap();
        old_peer
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(
            old_peer.read(&mut [0; 1]).unwrap(),
            0,
            "no duplicate is kept"
        );
        drop(new_peer);
        first_write_fails(&mut new);
    }
}
