//! What is known of a node without asking it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::thread;

use dqlite_client::{NodeInfo, Role};

use crate::control::State;
use crate::crash::CrashReport;
use crate::node::Node;
use crate::view::{EngineInfo, Event, Leader, View};

/// What is known, without asking.
impl Node {
    /// The address that others dial.
    pub fn address(&self) -> &str {
        &self.settings.address
    }

    /// The directory that stores everything, as an absolute path.
    pub fn data_dir(&self) -> &Path {
        &self.settings.data_dir
    }

    /// The node's id; before the first start the one it will have, or 0 if that is not certain.
    pub fn id(&self) -> u64 {
        self.view(None, |view| view.id).unwrap_or_default()
    }

    /// The state, with [`State::Draining`] as soon as a stop was asked for.
    pub fn state(&self) -> State {
        self.view(State::Stopped, |view| match view.stop {
            Some(_) if view.running => State::Draining,
            _ => view.state,
        })
    }

    /// Why the node is in its state; empty if there is nothing to say.
    pub fn why(&self) -> String {
        self.view(String::new(), |view| view.why.clone())
    }

    /// True from a start to the end of a stop, also while a crashed process is being restarted.
    pub fn is_running(&self) -> bool {
        self.view(false, |view| view.running)
    }

    /// The leader, as this node's engine sees it.
    pub fn leader(&self) -> Option<Leader> {
        self.view(None, |view| view.leader.clone())
    }

    /// Whether this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.leader().is_some_and(|leader| leader.id == self.id())
    }

    /// The role of this node, once it is a member.
    pub fn role(&self) -> Option<Role> {
        self.view(None, |view| view.role)
    }

    /// The members of the cluster, as this node last saw them.
    pub fn members(&self) -> Vec<NodeInfo> {
        self.view(Vec::new(), |view| view.members.clone())
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.view(None, |view| view.pid)
    }

    /// How often the process was started again since the start.
    pub fn restarts(&self) -> u32 {
        self.view(0, |view| view.restarts)
    }

    /// How its process last crashed since it was started, and on which statements.
    ///
    /// ```no_run
    /// # fn show(node: &dqlite::Node) {
    /// if let Some(crash) = node.last_crash() {
    ///     eprintln!("{crash}");
    ///     for suspect in &crash.suspects.listed {
    ///         eprintln!("  {suspect}");
    ///     }
    /// }
    /// # }
    /// ```
    pub fn last_crash(&self) -> Option<CrashReport> {
        self.view(None, |view| view.crash.clone())
    }

    /// The engine, once it is loaded.
    pub fn engine(&self) -> Option<EngineInfo> {
        self.view(None, |view| view.engine.clone())
    }

    /// What the node's TCP listener is bound to, while it serves.
    pub fn bind_address(&self) -> Option<String> {
        self.view(None, |view| view.bind.clone())
    }

    /// The Unix socket for programs on this machine, unless it is switched off.
    pub fn socket_path(&self) -> Option<PathBuf> {
        self.settings.socket_path()
    }

    /// Everything that happens from now on, across stops and starts. A subscriber that falls
    /// behind by 1024 events misses some.
    pub fn events(&self) -> Receiver<Event> {
        self.shared.subscribe()
    }

    /// Has `tell` called with every event from now on, in a thread of its own that ends with the
    /// node. A panic in it is logged; it stops neither the events nor the node.
    ///
    /// ```no_run
    /// let node = dqlite::Node::builder("127.0.0.1:9001", "data/n1").build()?;
    /// node.on_event(|event| println!("{event:?}"));
    /// node.start()?;
    /// # Ok::<(), dqlite::NodeError>(())
    /// ```
    pub fn on_event(&self, mut tell: impl FnMut(&Event) + Send + 'static) {
        let events = self.events();
        let work = move || {
            for event in events {
                let told = catch_unwind(AssertUnwindSafe(|| tell(&event)));
                if told.is_err() {
                    tracing::error!(target: "dqlite::node", "on_event panicked");
                }
            }
        };
        let thread = thread::Builder::new().name("dqlite-events".into());
        if let Err(reason) = thread.spawn(work) {
            tracing::error!(target: "dqlite::node", "start the thread of on_event: {reason}");
        }
    }

    /// Where to connect, with everything that a client needs to know of TLS.
    pub fn url(&self) -> String {
        self.settings.url()
    }

    /// In the copy of a forked process nothing is known: the lock may be held by a thread that
    /// exists in the owner only.
    fn view<T>(&self, forked: T, look: impl FnOnce(&View) -> T) -> T {
        match self.check_owner() {
            Ok(()) => look(&self.shared.view()),
            Err(_) => forked,
        }
    }
}
