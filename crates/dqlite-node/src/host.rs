//! The only place that knows the order of start and stop.
//!
//! ```text
//! start: lock and read the directory ─► bind ─► who am I? ─► engine ─► serve ─► keeper
//! stop:  draining ─► hand over ─► close listeners ─► drain ─► engine stop ─► bye
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dqlite_proto::{NodeInfo, Request, Role};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::board::Board;
use crate::clerk::Clerk;
use crate::config::{Id, NodeConfig, TrailingStrategy};
use crate::damage;
use crate::data_dir::{self, DataDir, Plan, Wanted};
use crate::engine::{Dialer, Engine, EngineConfig, EngineError, Library, PlainDialer, Running};
use crate::error::HostError;
use crate::event::{Bye, Command, Event, State};
use crate::gateway::Door;
use crate::handover::{self, Given};
use crate::in_flight::InFlight;
use crate::info::Info;
use crate::keeper::Keeper;
use crate::leader::Local;
use crate::leave;
use crate::peer::Peer;
use crate::prober::{self, Identity};
use crate::rejoin;
use crate::size;
use crate::status;
use crate::stop::Stop;
use crate::tls::{Renewal, Security, TlsDialer};
use crate::watchdog::{self, Verdict, Watchdog};

const BEAT: Duration = Duration::from_secs(1);
/// Setting the weight is a matter of microseconds.
const WEIGHT_PATIENCE: Duration = Duration::from_secs(2);
/// Verdicts that may wait to be acted on: the first ends the process.
const VERDICTS: usize = 4;

/// What a node finds in its process.
#[derive(Clone, Debug)]
pub struct Process {
    /// The engine.
    pub library: &'static Library,
    /// When it all began.
    pub started: Instant,
    /// Where it is noted what the engine is at, for whoever survives the process.
    pub in_flight: Option<Arc<InFlight>>,
}

/// Runs a node from the lock of its directory to the release of that lock.
///
/// Returns after a stop was asked for, or with the reason why the node cannot start or go on.
/// Every socket and the lock are released then, unless the engine did not stop in time: such an
/// engine keeps a thread for ever, and the process must end without waiting for it.
pub async fn run(
    mut config: NodeConfig,
    process: Process,
    events: mpsc::Sender<Event>,
    mut commands: mpsc::Receiver<Command>,
) -> Result<Bye, HostError> {
    config.validate().map_err(HostError::Config)?;
    let security = Security::load(&config)?;
    let library = process.library;
    let board = Arc::new(Board::new(events, &config.address, process.started));
    board.runs_on(library);
    let clerk = Clerk::new(&board, &security, &config, process.in_flight);
    let (dir, plan) = open(&config).await?;
    let every = Duration::from_secs_f64(config.tls_reload_interval);
    let _renewal = Renewal::begin(every, &security, &board);
    let mut door = Door::bind(&config, &clerk).await?;
    let (mut identity, joining) = match plan {
        Plan::Restart {
            info,
            members,
            joining,
        } => (
            Identity {
                id: info.id,
                bootstraps: false,
                members,
            },
            joining,
        ),
        first => {
            if let Plan::Lost { id } = first {
                let text = format!("the data of node {id} is gone: starting anew");
                board.warn("data_lost", text);
                dir.set_aside()?;
            }
            if !prober::others(&config).is_empty() {
                door.open(&config);
            }
            let identity = tokio::select! {
                identity = prober::identify(
                    &config,
                    &board,
                    (&door.backend, &security),
                ) => identity?,
                _ = Stop::asked(&mut commands, &clerk) => return Ok(Stop::early(&board)),
            };
            commit(&dir, &config, &identity)?;
            let joining = !identity.bootstraps;
            (identity, joining)
        }
    };
    board.identify(identity.id, &config.address, identity.bootstraps);
    let known = identity.id;
    let (engine, thread) =
        launch_or_rejoin(library, (&mut config, &mut identity), &dir, (&clerk, &door)).await?;
    let joining = joining || identity.id != known;
    dir.formed()?;
    let name = PathBuf::from(format!("\0{}", engine.abstract_name()));
    door.register().know(&identity.members);
    door.lead_to(&config, &name);
    let local = Arc::new(Local {
        id: identity.id,
        config,
        dir,
        board,
        engine: name,
        security,
        live: Arc::clone(&clerk.live),
    });
    let host = Host::new(local, (clerk, door), engine, identity.members, joining).await;
    host.watched(thread).until_stopped(commands).await
}

/// Locks the directory and decides what it holds.
async fn open(config: &NodeConfig) -> Result<(DataDir, Plan), HostError> {
    let (path, address) = (config.data_dir.clone(), config.address.clone());
    let opened = spawn_blocking(move || DataDir::open(&path, &address)).await;
    let dir = opened.map_err(|panic| HostError::Bug(panic.to_string()))??;
    let wanted = Wanted {
        address: &config.address,
        id: config.node_id.map(|Id(id)| id),
        listed: !prober::others(config).is_empty(),
    };
    let plan = data_dir::plan(dir.read()?, wanted);
    let path = dir.path().to_owned();
    Ok((
        dir,
        plan.map_err(|refusal| HostError::Refused { path, refusal })?,
    ))
}

/// Writes the identity of a first start.
fn commit(dir: &DataDir, config: &NodeConfig, identity: &Identity) -> Result<(), HostError> {
    let info = Info {
        id: identity.id,
        address: config.address.clone(),
    };
    let founder = NodeInfo {
        id: info.id,
        address: info.address.clone(),
        role: Role::Voter,
    };
    let founder = identity.bootstraps.then_some(founder);
    let members: Vec<NodeInfo> = identity.members.iter().cloned().chain(founder).collect();
    dir.found(&info, &members, !identity.bootstraps)
}

/// Launches the engine; if its data is damaged, tells what was put aside, or begins anew as a
/// member with another identity.
async fn launch_or_rejoin(
    library: &'static Library,
    (config, identity): (&mut NodeConfig, &mut Identity),
    dir: &DataDir,
    (clerk, door): (&Clerk, &Door),
) -> Result<(Engine<Running>, Option<u32>), HostError> {
    let (board, security) = (&*clerk.board, &clerk.security);
    let aside = || damage::aside(dir.path()).unwrap_or_default();
    let before = aside();
    let recovers = rejoin::recovers(config, &identity.members);
    let launched = match rejoin::check(dir, recovers) {
        Ok(()) => launch(library, config, dir, (identity, security)).await,
        Err(damaged) => Err(damaged),
    };
    if let Some(text) = damage::report(&aside().difference(&before).cloned().collect()) {
        board.warn("data_put_aside", text);
    }
    let refused = match launched {
        Ok(launched) => return Ok(launched),
        Err(refused) => refused,
    };
    let node = (&*config, dir, board);
    (*identity, *config) =
        rejoin::instead(refused, &identity.members, node, (&door.backend, security)).await?;
    commit(dir, config, identity)?;
    board.identify(identity.id, &config.address, false);
    launch(library, config, dir, (identity, security)).await
}

/// Creates and starts the engine, and gives the thread of its loop; loading a large log takes its
/// time.
async fn launch(
    library: &'static Library,
    config: &NodeConfig,
    dir: &DataDir,
    (identity, security): (&Identity, &Security),
) -> Result<(Engine<Running>, Option<u32>), HostError> {
    let options = EngineConfig {
        network_latency_ms: config.network_latency_ms,
        busy_timeout_ms: config.busy_timeout_ms,
        snapshot_threshold: config.snapshot_threshold,
        snapshot_trailing: config.snapshot_trailing,
        snapshot_trailing_dynamic: config.snapshot_trailing_strategy == TrailingStrategy::Dynamic,
        snapshot_compression: config.snapshot_compression,
        auto_recovery: Some(rejoin::recovers(config, &identity.members)),
        block_size_bytes: config.block_size_bytes,
        failure_domain: config.failure_domain.0,
        ..EngineConfig::new(identity.id, config.address.clone(), dir.path())
    };
    let dialer = dialer(config, security);
    let launched = spawn_blocking(move || {
        let create = |reason: EngineError| HostError::Create(reason.to_string());
        let engine = Engine::create(library, &options, dialer).map_err(create)?;
        let bound = engine.bind().map_err(create)?;
        let before = watchdog::threads();
        let started = bound.start();
        let thread = watchdog::loop_thread(&before);
        let engine = started.map_err(|reason| HostError::start(&options.data_dir, &reason))?;
        Ok((engine, thread))
    });
    launched
        .await
        .unwrap_or_else(|panic| Err(HostError::Bug(panic.to_string())))
}

/// How the engine reaches its peers.
fn dialer(config: &NodeConfig, security: &Security) -> Dialer {
    let plain = PlainDialer::new(config.network_latency_ms);
    let Some(tls) = security.tls().cloned() else {
        return plain.into_dialer();
    };
    let age = Duration::from_secs_f64(config.tls_max_stream_age);
    let age = (!age.is_zero()).then_some(age);
    TlsDialer::new(tls, plain, Handle::current(), age).into_dialer()
}

/// A node with an engine.
struct Host {
    local: Arc<Local>,
    clerk: Clerk,
    door: Door,
    engine: Engine<Running>,
    keeper: JoinHandle<HostError>,
    watch: JoinHandle<()>,
    detached: JoinHandle<()>,
    watchdog: Option<Watchdog>,
    verdicts: (mpsc::Sender<Verdict>, mpsc::Receiver<Verdict>),
}

impl Host {
    async fn new(
        local: Arc<Local>,
        (clerk, door): (Clerk, Door),
        engine: Engine<Running>,
        known: Vec<NodeInfo>,
        joining: bool,
    ) -> Self {
        weigh(&local).await;
        let (views, seen) = watch::channel(crate::watch::View::default());
        let (name, board) = (local.engine.clone(), Arc::clone(&local.board));
        let watching = crate::watch::run(name, board, door.register(), views);
        let verdicts = mpsc::channel(VERDICTS);
        let detached = watchdog::detached(Arc::clone(&local), seen.clone(), verdicts.0.clone());
        let stuck = watchdog::stuck(Arc::clone(&local), door.roll(), verdicts.0.clone());
        let keeper = Keeper::new(Arc::clone(&local), seen, known).run(joining);
        Self {
            local,
            clerk,
            door,
            engine,
            keeper: tokio::spawn(keeper),
            watch: tokio::spawn(watching),
            detached: tokio::spawn(async move {
                tokio::join!(detached, stuck);
            }),
            watchdog: None,
            verdicts,
        }
    }

    /// Has the engine, whose loop is `thread`, watched.
    fn watched(mut self, thread: Option<u32>) -> Self {
        let timeout = Duration::from_secs_f64(self.local.config.watchdog_timeout);
        if !timeout.is_zero() {
            let (name, verdicts) = (self.local.engine.clone(), self.verdicts.0.clone());
            match Watchdog::start(name, thread, timeout, verdicts) {
                Ok(watchdog) => self.watchdog = Some(watchdog),
                Err(reason) => {
                    let text = format!("nobody watches the engine: {reason}");
                    self.local.board.warn("no_watchdog", text);
                }
            }
        }
        self
    }

    /// Answers when the engine has said how large its databases are.
    fn tell_status(&self, n: u32) {
        let open = (&self.door, self.local.dir.path());
        let document = self.clerk.status(Some(open));
        let names = self.door.databases();
        tokio::spawn(status::answer(Arc::clone(&self.local), n, document, names));
    }

    async fn until_stopped(
        mut self,
        mut commands: mpsc::Receiver<Command>,
    ) -> Result<Bye, HostError> {
        let board = Arc::clone(&self.local.board);
        let mut beats = tokio::time::interval(BEAT);
        let mut looks = tokio::time::interval(size::LOOK_EVERY);
        let told = Arc::default();
        let (done, mut left) = mpsc::channel(1);
        loop {
            tokio::select! {
                command = commands.recv() => {
                    let command = command.unwrap_or(Command::Orphaned);
                    let Some(command) = self.clerk.answer(command) else { continue };
                    if let Some(stop) = self.obey(&command, &done) {
                        return Ok(self.stop(stop).await);
                    }
                }
                Some(()) = left.recv() => {
                    let bye = self.stop(Stop::left()).await;
                    return Ok(Bye { left: true, ..bye });
                }
                ended = &mut self.keeper => {
                    let reason = ended.unwrap_or_else(|panic| HostError::Bug(panic.to_string()));
                    return Err(self.give_up(reason).await);
                }
                Some(verdict) = self.verdicts.1.recv() => {
                    board.tell(Event::Watchdog(verdict.clone()));
                    // The engine is past a stop; what it acknowledged is in its log.
                    return Err(HostError::Wedged(verdict));
                }
                _ = beats.tick() => board.beat(self.door.connections()),
                _ = looks.tick() => {
                    let names = self.door.databases();
                    tokio::spawn(size::look(Arc::clone(&self.local), names, Arc::clone(&told)));
                }
            }
        }
    }

    /// Begins what a command asks for; a stop is given back.
    fn obey(&self, command: &Command, done: &mpsc::Sender<()>) -> Option<Stop> {
        let local = Arc::clone(&self.local);
        match *command {
            Command::Stop {
                n,
                handover,
                deadline,
            } => {
                self.clerk.acknowledge(n);
                return Some(Stop::within(handover, deadline));
            }
            Command::Orphaned => return Some(Stop::orphaned()),
            Command::Handover { n, roles, deadline } => {
                tokio::spawn(handover::answer(local, n, roles, deadline));
            }
            Command::Leave { n, deadline } => {
                tokio::spawn(leave::answer(local, n, deadline, done.clone()));
            }
            Command::Status { n } => self.tell_status(n),
            // The clerk answers these.
            Command::Explain { .. }
            | Command::ReloadTls { .. }
            | Command::Hangup
            | Command::Set { .. } => {}
        }
        None
    }

    /// The cluster does not know this node any more: marks the directory, and stops.
    async fn give_up(self, reason: HostError) -> HostError {
        let board = Arc::clone(&self.local.board);
        if let HostError::Removed { .. } = &reason {
            leave::mark(&self.local, "removed");
            board.enter(State::Removed, &reason.to_string(), Vec::new());
        }
        self.stop(Stop::left()).await;
        reason
    }

    async fn stop(mut self, stop: Stop) -> Bye {
        let begun = Instant::now();
        let board = Arc::clone(&self.local.board);
        board.enter(State::Draining, "a stop was asked for", Vec::new());
        self.local.dir.draining();
        self.keeper.abort();
        let limit = Duration::from_secs_f64(self.local.config.handover_timeout);
        let given = match stop.handover {
            Some(most) if self.local.config.handover_on_stop && board.members().len() > 1 => {
                handover::run(&self.local, true, most.min(limit)).await
            }
            _ => Ok(Given::default()),
        };
        let given = given.unwrap_or_else(|reason| {
            board.warn(
                "not_handed_over",
                format!("leadership stays here: {reason}"),
            );
            Given::default()
        });
        tracing::debug!("handed over after {:?}", begun.elapsed());
        let drained = self.door.drain(stop.drain).await;
        tracing::debug!("drained after {:?}", begun.elapsed());
        self.watch.abort();
        self.detached.abort();
        drop(self.watchdog.take());
        let Self {
            engine, mut door, ..
        } = self;
        let stopping = timeout(stop.engine, spawn_blocking(move || engine.stop())).await;
        match &stopping {
            // Whatever was owed has come, or the engine has closed its end.
            Ok(Ok(Ok(()))) => door.drained().await,
            Ok(Ok(Err(reason))) => tracing::error!("stop the engine: {reason}"),
            Ok(Err(panic)) => tracing::error!("stop the engine: {panic}"),
            Err(_) => tracing::error!("the engine did not stop within {:?}", stop.engine),
        }
        tracing::debug!("engine stopped after {:?}", begun.elapsed());
        let leader = given
            .leader
            .or_else(|| board.leader().map(|(_, address)| address));
        Bye {
            handed_over: given.leadership,
            leader,
            drained,
            took: begun.elapsed(),
            left: false,
        }
    }
}

/// *Engine*: the weight is kept in memory only.
async fn weigh(local: &Local) {
    let weight = u64::from(local.config.weight);
    if weight == 0 {
        return;
    }
    let set = async {
        let mut peer = Peer::private(&local.engine, WEIGHT_PATIENCE).await?;
        peer.call(&Request::Weight { weight }).await
    };
    if let Err(reason) = set.await {
        local
            .board
            .warn("weight", format!("set the weight: {reason}"));
    }
}
