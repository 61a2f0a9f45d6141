//! Local copies for programs without a runtime.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::LocalCopy;
use super::fetch::Wish;
use crate::address::Address;
use crate::config::Config;
use crate::error::Result;
use crate::fd::never;

/// Local copies of the database of a configuration, made on demand; see the
/// [module page](super).
///
/// Clones share the latest copy. Callers who need a newer one wait for the one that is being
/// made. The configuration's `connect_timeout` bounds the search for a node, its `timeout` each
/// wait for a part of the copy.
#[derive(Clone, Debug)]
pub struct LocalCopies {
    wish: Wish,
    latest: Arc<Mutex<Option<LocalCopy>>>,
    /// Held by whoever makes a copy.
    making: Arc<Mutex<()>>,
}

impl LocalCopies {
    /// Nothing is sent or written before the first call. The directory must be there.
    pub fn new(config: &Config, directory: impl AsRef<Path>) -> Self {
        Self {
            wish: Wish::new(config, directory.as_ref()),
            latest: Arc::default(),
            making: Arc::default(),
        }
    }

    /// The same from this node and no other.
    #[must_use]
    pub fn from_node(mut self, node: Address) -> Self {
        self.wish.node = Some(node);
        self.latest = Arc::default();
        self
    }

    /// The latest copy if it is not older than that, else a new one.
    ///
    /// The age counts from when the node was asked, so the lag of the node comes on top; see
    /// [`Lag`](super::Lag). After an error the latest copy is still [there](Self::latest).
    pub fn no_older_than(&self, age: Duration) -> Result<LocalCopy> {
        if let Some(copy) = self.younger_than(age) {
            return Ok(copy);
        }
        let _making = lock(&self.making);
        // Somebody else may have made it meanwhile.
        self.younger_than(age).map_or_else(|| self.make(), Ok)
    }

    /// A new copy.
    pub fn refresh(&self) -> Result<LocalCopy> {
        let _making = lock(&self.making);
        self.make()
    }

    /// The latest copy, however old, if there is one. Nothing is sent.
    pub fn latest(&self) -> Option<LocalCopy> {
        lock(&self.latest).clone()
    }

    fn younger_than(&self, age: Duration) -> Option<LocalCopy> {
        self.latest().filter(|copy| copy.age() <= age)
    }

    fn make(&self) -> Result<LocalCopy> {
        let copy = self.wish.fetch(&mut never)?;
        *lock(&self.latest) = Some(copy.clone());
        Ok(copy)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
