//! The loop that gives the node its seat, keeps what it knows of the cluster fresh, and assigns
//! roles while the node leads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dqlite_proto::{NodeInfo, Request};
use tokio::sync::watch;

use crate::address::canonical;
use crate::error::HostError;
use crate::event::{Missing, State};
use crate::explain;
use crate::health::Probes;
use crate::joining::{self, Step};
use crate::leader::{Leader, Local, PATIENCE};
use crate::peer::PeerError;
use crate::prober::Pause;
use crate::roles;
use crate::round::{self, Promotion};
use crate::seat;
use crate::watch::View;

/// A change that only needs the leader's log.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);
/// *Engine*: a promotion waits for the new voter to catch up.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at a list that lacks this node.
const ABSENCE: Duration = Duration::from_secs(1);

/// Joins, settles, and then watches over the membership.
pub(crate) struct Keeper {
    local: Arc<Local>,
    views: watch::Receiver<View>,
    /// Members known from before.
    known: Vec<NodeInfo>,
    leader: Option<Leader>,
    probes: Probes,
    promotion: Option<Promotion>,
    lost_since: Option<Instant>,
}

impl Keeper {
    pub(crate) fn new(
        local: Arc<Local>,
        views: watch::Receiver<View>,
        known: Vec<NodeInfo>,
    ) -> Self {
        Self {
            local,
            views,
            known,
            leader: None,
            probes: Probes::default(),
            promotion: None,
            lost_since: None,
        }
    }

    /// Runs until the cluster has removed the node, and then gives that as the error.
    pub(crate) async fn run(mut self, joining: bool) -> HostError {
        if self.addresses().len() > 1 {
            tokio::spawn(seat::check(Arc::clone(&self.local)));
        }
        if joining {
            self.join().await;
        }
        self.local
            .board
            .enter(State::CatchingUp, "looking for the leader", Vec::new());
        let mut settled = false;
        let mut pause = Pause::default();
        let mut round_due = Instant::now();
        loop {
            let found = self.refresh().await;
            if found && self.is_removed().await {
                let (id, address) = (self.local.id, self.local.config.address.clone());
                return HostError::Removed { id, address };
            }
            if !found {
                pause.wait().await;
                continue;
            }
            pause = Pause::default();
            if !std::mem::replace(&mut settled, true) {
                self.assume().await;
            }
            let why = format!("leader is {}", self.leads());
            self.local.board.enter(State::Ready, &why, Vec::new());
            if self.adjusts() {
                self.adjust().await;
            } else {
                self.promotion = None;
                self.local.board.see_health(HashMap::new());
                let grounds = explain::follower(&self.local.board.members(), self.leads());
                self.local.board.explain(grounds);
            }
            if Instant::now() >= round_due {
                round_due = Instant::now() + self.interval();
            }
            self.wait(round_due).await;
        }
    }

    /// A tenth more or less, so that the nodes of a cluster do not act in step.
    fn interval(&self) -> Duration {
        let seconds = self.local.config.roles_interval;
        Duration::from_secs_f64(seconds * (0.9 + fastrand::f64() / 5.0))
    }

    /// Waits for something to do: the own engine sees a change, a promotion has ended or takes
    /// long, a probe or the round is due.
    async fn wait(&mut self, round_due: Instant) {
        let slow = self.promotion.as_ref().and_then(Promotion::report_due);
        let probe = self.probes.next().filter(|_| self.adjusts());
        let due = [slow, probe]
            .into_iter()
            .flatten()
            .fold(round_due, Instant::min);
        let promoted = async {
            match &mut self.promotion {
                Some(promotion) => promotion.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.views.changed() => if changed.is_err() {
                // The watch ends with the node; so does this loop.
                std::future::pending::<()>().await;
            },
            () = promoted => {}
            () = tokio::time::sleep_until(due.into()) => {}
        }
    }

    /// The address of the leader, as far as known.
    fn leads(&self) -> &str {
        let leader = self.leader.as_ref();
        leader.map_or("", |leader| leader.address.as_str())
    }

    /// Whether it is on this node to assign roles.
    fn adjusts(&self) -> bool {
        let leader = self.leader.as_ref();
        self.local.config.manage_roles && leader.is_some_and(|leader| leader.id == self.local.id)
    }

    /// Every address that may know the leader.
    fn addresses(&self) -> Vec<String> {
        let seen = self.views.borrow().members.clone();
        let members = self.local.board.members().into_iter().chain(seen);
        let members = members
            .chain(self.known.iter().cloned())
            .map(|member| member.address);
        let mut all: Vec<String> = Vec::new();
        for address in members.chain(self.local.config.cluster.iter().cloned()) {
            if !all
                .iter()
                .any(|known| canonical(known) == canonical(&address))
            {
                all.push(address);
            }
        }
        all
    }

    /// Gets a seat in the cluster: a spare's, if the node has none.
    async fn join(&mut self) {
        let mut pause = Pause::default();
        let members = loop {
            match self.try_join().await {
                Ok(Some(members)) => break members,
                Ok(None) => {}
                Err((why, missing)) => {
                    self.local.board.enter(State::Joining, &why, missing);
                    pause.wait().await;
                }
            }
        };
        if let Err(reason) = self.local.dir.joined(&members) {
            self.local
                .board
                .warn("join_mark", format!("remove the mark `join`: {reason}"));
        }
    }

    /// Every step reads before it acts, so that repeating does no harm. Gives the members when they
    /// list this node, and nothing after a change that is to be read back.
    async fn try_join(&mut self) -> Result<Option<Vec<NodeInfo>>, (String, Vec<Missing>)> {
        self.views.mark_unchanged();
        let addresses = self.addresses();
        let found = self.local.find_leader(&addresses).await;
        let mut leader = found.map_err(|missing| ("no leader found".to_owned(), missing))?;
        let asked = |reason: PeerError| (reason.to_string(), Vec::new());
        let members = leader.peer.members().await.map_err(asked)?;
        let (id, own) = (self.local.id, self.local.config.address.as_str());
        let invited = !self.local.config.cluster.is_empty() || !self.known.is_empty();
        match joining::step(&members, (id, own), invited) {
            Step::Seated => Ok(Some(members)),
            Step::Taken(other) => {
                let why =
                    format!("the id {id} belongs to {other}: choose another node_id, or none");
                Err((why, Vec::new()))
            }
            Step::Replace(stale) => {
                let replaced = seat::replace(&self.local, &mut leader, stale).await;
                replaced.map(|()| None).map_err(|why| (why, Vec::new()))
            }
            Step::Wait => Err(("waits to be added to a cluster".to_owned(), Vec::new())),
            Step::Add => {
                let add = Request::Add { id, address: own };
                let added = leader.change(&add, CHANGE_PATIENCE).await;
                let failed = |reason| format!("ask {} for a seat: {reason}", leader.address);
                added
                    .map(|()| None)
                    .map_err(|reason| (failed(reason), Vec::new()))
            }
        }
    }

    /// Makes sure of the leader, and takes its list of members. False if nobody leads.
    async fn refresh(&mut self) -> bool {
        self.views.mark_unchanged();
        let members = match self.leader.as_mut() {
            Some(leader) => leader.members().await,
            None => None,
        };
        let members = match members {
            Some(members) => members,
            None => match self.reconnect().await {
                Some(members) => members,
                None => return false,
            },
        };
        self.lost_since = None;
        if let Some(leader) = &self.leader {
            self.local
                .board
                .see_leader(Some((leader.id, leader.address.clone())));
        }
        if self.local.board.see_members(&members, self.leads()) {
            self.store(members);
        }
        true
    }

    async fn reconnect(&mut self) -> Option<Vec<NodeInfo>> {
        self.leader = None;
        let addresses = self.addresses();
        match self.local.find_leader(&addresses).await {
            Ok(mut leader) => {
                let members = leader.members().await;
                self.leader = members.is_some().then_some(leader);
                members
            }
            Err(missing) => {
                self.miss_leader(missing);
                None
            }
        }
    }

    /// A ready node stays ready through an election.
    fn miss_leader(&mut self, missing: Vec<Missing>) {
        let since = *self.lost_since.get_or_insert_with(Instant::now);
        let patience = 2 * self.local.config.election_timeout();
        let board = &self.local.board;
        match board.state() {
            State::Ready if since.elapsed() < patience => {}
            State::Ready | State::NoLeader => {
                board.see_leader(None);
                board.enter(State::NoLeader, "no leader found", missing);
            }
            _ => board.enter(State::CatchingUp, "no leader found", missing),
        }
    }

    /// Writes `cluster.yaml` in the background: a slow disk must not delay the loop.
    fn store(&self, members: Vec<NodeInfo>) {
        let local = Arc::clone(&self.local);
        tokio::task::spawn_blocking(move || {
            if let Err(reason) = local.dir.write_members(&members) {
                local.board.warn("cluster_yaml", reason.to_string());
            }
        });
    }

    /// Whether the leader's list lacks this node, now and a second later.
    async fn is_removed(&mut self) -> bool {
        for pause in [Duration::ZERO, ABSENCE] {
            tokio::time::sleep(pause).await;
            let Some(leader) = self.leader.as_mut() else {
                return false;
            };
            match leader.members().await {
                Some(members) if members.iter().all(|member| member.id != self.local.id) => {}
                _ => return false,
            }
        }
        true
    }

    /// Takes the role that the cluster lacks, without waiting for the leader to look.
    async fn assume(&mut self) {
        let members = self.local.board.members();
        let view = self.look(&members).await;
        let Some(role) = roles::assume(self.local.config.targets(), self.local.id, &view) else {
            return;
        };
        let Some(leader) = self.leader.as_mut() else {
            return;
        };
        let assign = Request::Assign {
            id: self.local.id,
            role,
        };
        match leader.change(&assign, PROMOTION_PATIENCE).await {
            Ok(()) => {
                self.refresh().await;
            }
            // The leader's own round repairs it.
            Err(reason) => tracing::info!("assume the role of a {role}: {reason}"),
        }
    }

    /// Asks every member how it is.
    async fn look(&mut self, members: &[NodeInfo]) -> Vec<roles::Member> {
        let answers = self.local.describe(members, PATIENCE).await;
        let now = Instant::now();
        self.probes.keep(members);
        for (id, answer) in answers {
            self.probes.note(id, answer, now);
        }
        let offline_after = Duration::from_secs_f64(self.local.config.offline_after);
        self.probes.members(members, offline_after, now)
    }

    /// A round of role decisions, as the leader.
    async fn adjust(&mut self) {
        let members = self.local.board.members();
        self.look(&members).await;
        let Some(leader) = self.leader.as_mut() else {
            return;
        };
        let probes = &mut self.probes;
        let round = round::adjust(&self.local, leader, probes, &mut self.promotion).await;
        if round.is_over {
            (self.leader, self.promotion) = (None, None);
        }
        let subject = self.promotion.as_ref().map(Promotion::subject);
        let offline_after = Duration::from_secs_f64(self.local.config.offline_after);
        let now = Instant::now();
        let view = self.probes.members(&members, offline_after, now);
        let sights = self.probes.sights(offline_after, now);
        self.local.board.see_health(sights);
        let targets = self.local.config.targets();
        let grounds = explain::document(targets, &view, &round.findings, subject);
        self.local.board.explain(grounds);
        if !round.changes.is_empty() || !round.failed.is_empty() {
            self.local.board.adjusted(round.changes, round.failed);
            self.refresh().await;
        }
    }
}
