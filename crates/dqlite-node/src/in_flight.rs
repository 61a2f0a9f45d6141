//! What the engine is at, noted where it outlives the process: see `dqlite_proto::suspects`.
//!
//! A request costs a copy of 120 bytes, a hash of its text and no call of the system; only the
//! oldest unanswered one of a connection is listed, as the engine begins with the next one after
//! it has answered.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dqlite_proto::suspects::{BYTES, HEADER_WORDS, MAGIC, Note, SLOT_WORDS, SLOTS, UNLISTED_WORD};

use crate::engine::Outliving;

/// The notes of all connections.
#[derive(Debug)]
pub struct InFlight {
    memory: Outliving,
    free: Mutex<Vec<usize>>,
    begun: AtomicU64,
}

impl InFlight {
    /// Empty.
    pub fn new() -> io::Result<Self> {
        let memory = Outliving::new(BYTES / size_of::<u64>())?;
        if let Some(magic) = memory.words().first() {
            magic.store(MAGIC, Ordering::Release);
        }
        Ok(Self {
            memory,
            free: Mutex::new((0..SLOTS).rev().collect()),
            begun: AtomicU64::new(0),
        })
    }

    /// What a supervisor opens to read the notes when this process is gone.
    pub fn descriptor(&self) -> RawFd {
        self.memory.descriptor()
    }

    fn take(&self) -> Option<usize> {
        let slot = self.free().pop();
        if slot.is_none() {
            self.count(1);
        }
        slot
    }

    fn give_back(&self, slot: Option<usize>) {
        match slot {
            Some(slot) => {
                self.write(slot, &[0]);
                self.free().push(slot);
            }
            None => self.count(u64::MAX),
        }
    }

    fn note(&self, slot: Option<usize>, note: &Note) {
        let order = self.begun.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = slot {
            self.write(slot, &note.words(order));
        }
    }

    /// Whoever reads half of it finds the slot free.
    fn write(&self, slot: usize, words: &[u64]) {
        let memory = self.memory.words();
        let memory = memory.get(HEADER_WORDS + slot * SLOT_WORDS..);
        let memory = memory.unwrap_or_default();
        let (Some((state, memory)), Some((first, words))) =
            (memory.split_first(), words.split_first())
        else {
            return;
        };
        state.store(0, Ordering::Release);
        for (word, value) in memory.iter().zip(words) {
            word.store(*value, Ordering::Relaxed);
        }
        state.store(*first, Ordering::Release);
    }

    fn count(&self, more: u64) {
        if let Some(unlisted) = self.memory.words().get(UNLISTED_WORD) {
            // Less one is all but one more, modulo 2^64.
            unlisted.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The requests of one connection that are noted, by their numbers.
#[derive(Debug)]
pub(crate) struct Queue {
    all: Arc<InFlight>,
    /// The oldest one, with the slot that lists it unless all were taken.
    listed: Option<(u64, Option<usize>)>,
    behind: VecDeque<(u64, Note)>,
}

impl Queue {
    pub(crate) const fn new(all: Arc<InFlight>) -> Self {
        Self {
            all,
            listed: None,
            behind: VecDeque::new(),
        }
    }

    /// The engine is given this request, behind all before it.
    pub(crate) fn push(&mut self, number: u64, note: &Note) {
        if self.listed.is_some() {
            self.behind.push_back((number, *note));
            return;
        }
        let slot = self.all.take();
        self.all.note(slot, note);
        self.listed = Some((number, slot));
    }

    /// The request of this number is not completed, and none came after it.
    pub(crate) fn revoke(&mut self, number: u64) {
        if self.behind.back().is_some_and(|(last, _)| *last == number) {
            self.behind.pop_back();
        } else if let Some((listed, slot)) = self.listed
            && listed == number
        {
            self.listed = None;
            self.all.give_back(slot);
        }
    }

    /// The request of this number, and with it all before, is answered.
    pub(crate) fn settle(&mut self, number: u64) {
        let Some((listed, slot)) = self.listed else {
            return;
        };
        if listed > number {
            return;
        }
        self.listed = self.behind.pop_front().map(|(next, note)| {
            self.all.note(slot, &note);
            (next, slot)
        });
        if self.listed.is_none() {
            self.all.give_back(slot);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Some((_, slot)) = self.listed.take() {
            self.all.give_back(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use dqlite_proto::RequestKind;
    use dqlite_proto::suspects;

    use super::*;

    fn texts(all: &InFlight) -> (Vec<String>, u64) {
        let words = all.memory.words().iter();
        let bytes: Vec<u8> = words
            .flat_map(|word| word.load(Ordering::Acquire).to_le_bytes())
            .collect();
        let read = suspects::read(&bytes);
        let texts = read.listed.into_iter().map(|suspect| suspect.text);
        (texts.collect(), read.unlisted)
    }

    fn note(text: &str) -> Note {
        Note::new(RequestKind::EXEC_SQL, text.as_bytes())
    }

    #[test]
    fn the_oldest_request_of_each_connection_is_listed() {
        let all = Arc::new(InFlight::new().unwrap());
        let mut a = Queue::new(Arc::clone(&all));
        let mut b = Queue::new(Arc::clone(&all));
        a.push(1, &note("a1"));
        b.push(4, &note("b4"));
        a.push(3, &note("a3"));
        assert_eq!(texts(&all).0, ["a1", "b4"]);
        a.settle(1);
        assert_eq!(texts(&all).0, ["b4", "a3"]);
        a.settle(2);
        assert_eq!(texts(&all).0, ["b4", "a3"]);
        drop(b);
        a.settle(3);
        a.settle(4);
        assert_eq!(texts(&all), (vec![], 0));
    }

    #[test]
    fn what_is_not_completed_is_not_listed() {
        let all = Arc::new(InFlight::new().unwrap());
        let mut queue = Queue::new(Arc::clone(&all));
        queue.push(1, &note("one"));
        queue.push(2, &note("two"));
        queue.revoke(2);
        queue.revoke(3);
        assert_eq!(texts(&all).0, ["one"]);
        queue.revoke(1);
        assert_eq!(texts(&all).0, [""; 0]);
        queue.push(1, &note("again"));
        assert_eq!(texts(&all).0, ["again"]);
    }

    #[test]
    fn more_connections_than_slots_are_counted() {
        let all = Arc::new(InFlight::new().unwrap());
        let mut queues: Vec<_> = (0..SLOTS + 2)
            .map(|_| Queue::new(Arc::clone(&all)))
            .collect();
        for queue in &mut queues {
            queue.push(1, &note("x"));
            queue.push(2, &note("y"));
        }
        let (listed, unlisted) = texts(&all);
        assert_eq!((listed.len(), unlisted), (SLOTS, 2));
        queues.truncate(SLOTS + 1);
        assert_eq!(texts(&all).1, 1);
        for queue in &mut queues {
            queue.settle(1);
            queue.settle(2);
        }
        assert_eq!(texts(&all), (vec![], 0));
        queues[0].push(3, &note("z"));
        assert_eq!(texts(&all), (vec!["z".to_owned()], 0));
    }
}
