//! Administration under tokio.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use dqlite_proto::{File, Metadata, NodeInfo, Request, Response, Role};

use super::{Ask, Change, Dump, Next, NodeRef, Operation, Piece, Standing};
use crate::address::Address;
use crate::clock;
use crate::config::Config;
use crate::error::Result;
use crate::leader;
use crate::wire::Wire;

/// Time for requests that read.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Administers the cluster of a configuration. Each call has its own deadline and may be repeated
/// after any error.
#[derive(Debug)]
pub struct Admin {
    config: Config,
    wire: Option<Wire>,
    force: bool,
}

impl Admin {
    /// Nothing is sent before the first call.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            wire: None,
            force: false,
        }
    }

    /// Has the next change done without a look at who answers.
    pub const fn forced(&mut self) -> &mut Self {
        self.force = true;
        self
    }

    /// Who leads.
    pub async fn leader(&mut self) -> Result<NodeRef> {
        let deadline = clock::after(self.config.connect_timeout);
        loop {
            let (response, from) = self.ask_leader(&Request::Leader, deadline).await?;
            if let Some(leader) = super::leader(response, &from)? {
                return Ok(leader);
            }
            self.wire = None;
        }
    }

    /// The members, as the leader knows them.
    pub async fn cluster(&mut self) -> Result<Vec<NodeInfo>> {
        let deadline = clock::after(self.config.connect_timeout);
        let (response, from) = self.ask_leader(&Request::cluster(), deadline).await?;
        super::members(response, &from)
    }

    /// Adds a node in a role. Done at once if it is there already. One that is to be a voter must
    /// answer; see [`forced`](Self::forced).
    pub async fn add(&mut self, id: u64, address: &str, role: Role) -> Result<()> {
        self.change(Change::add(id, address, role)?).await
    }

    /// Gives a member another role. A new voter may need a minute to catch up, and must answer.
    pub async fn assign(&mut self, id: u64, role: Role) -> Result<()> {
        self.change(Change::Assign { id, role }).await
    }

    /// Removes a member. A leader hands leadership over first; a voter is replaced by a stand-by
    /// or a spare that answers. Refused for the last voter, and where of the voters that stay no
    /// majority answers; see [`forced`](Self::forced).
    pub async fn remove(&mut self, id: u64) -> Result<()> {
        self.change(Change::Remove { id }).await
    }

    /// Hands leadership to a voter, or to whom the leader picks.
    pub async fn transfer(&mut self, to: Option<u64>) -> Result<()> {
        self.change(Change::Transfer { to }).await
    }

    /// What a node tells of itself.
    pub async fn describe(&self, address: &str) -> Result<Metadata> {
        super::metadata(
            &self.ask_node(address, &Request::describe()).await?,
            address,
        )
    }

    /// Sets the weight of a node until it restarts.
    pub async fn weight(&self, address: &str, weight: u64) -> Result<()> {
        super::empty(
            &self.ask_node(address, &Request::Weight { weight }).await?,
            address,
        )
    }

    /// The files of a database, from the leader. The leader stands still while it copies them.
    pub async fn dump(&mut self, database: &str) -> Result<Vec<File>> {
        let deadline = clock::after(self.config.timeout);
        let (response, from) = self
            .ask_leader(&Request::Dump { name: database }, deadline)
            .await?;
        super::files(response, &from)
    }

    /// The files of a database as they come, from the leader, each into the writer that `open`
    /// makes of its name and size; returns how many bytes there were. No more of it is held than
    /// has just arrived. The configuration's `timeout` bounds each wait, not the whole.
    pub async fn dump_to<W: AsyncWrite + Unpin>(
        &mut self,
        database: &str,
        mut open: impl FnMut(&str, u64) -> io::Result<W>,
    ) -> Result<u64> {
        let until = clock::after(self.config.timeout.min(self.config.connect_timeout));
        let mut wire = leader::search(&self.config, None, until).await?;
        let address = wire.address().to_string();
        let mut dump = Dump::start(wire.session_mut(), database, &address)?;
        let (mut writer, mut total) = (None, 0);
        loop {
            let Some(piece) = dump.next(wire.session_mut())? else {
                wire.more(clock::after(self.config.timeout)).await?;
                continue;
            };
            let written = match piece {
                Piece::File { name, size } => {
                    let finished = finish(&mut writer).await;
                    finished.and_then(|()| open(&name, size).map(|w| writer = Some(w)))
                }
                Piece::Bytes(bytes) => {
                    total += bytes.len() as u64;
                    match &mut writer {
                        Some(writer) => writer.write_all(&bytes).await,
                        None => Ok(()),
                    }
                }
                Piece::End => {
                    finish(&mut writer).await.map_err(super::unwritten)?;
                    return Ok(total);
                }
            };
            written.map_err(super::unwritten)?;
        }
    }

    async fn change(&mut self, change: Change) -> Result<()> {
        let deadline = clock::after(change.timeout());
        let force = std::mem::take(&mut self.force);
        let mut operation = Operation::new(change, fastrand::u64(..)).forced(force);
        loop {
            match operation.next(clock::now(), deadline)? {
                Next::Done => return Ok(()),
                Next::Pause(time) => tokio::time::sleep(time).await,
                Next::Lead => {
                    let (response, from) = self.ask_leader(&Request::cluster(), deadline).await?;
                    operation.seen(super::members(response, &from)?, &from);
                }
                Next::Reach(nodes) => {
                    let mut up = Vec::new();
                    for node in nodes {
                        let until = clock::now() + super::REACH_TIMEOUT;
                        if reaches(&self.config, &node, until).await {
                            up.push(node);
                        }
                    }
                    operation.reached(up);
                }
                Next::Ask(request) => {
                    let answer = self.ask_leader(&request, deadline).await;
                    let answer = answer.and_then(|(answer, from)| super::empty(&answer, &from));
                    if operation.answered(answer)? {
                        self.wire = None;
                    }
                }
            }
        }
    }

    /// Asks the leader; also returns under which address it leads.
    async fn ask_leader(
        &mut self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<(Response, String)> {
        let until = deadline.min(clock::after(self.config.connect_timeout));
        let mut wire = match self.wire.take() {
            Some(mut wire) => match wire.ready(deadline).await {
                Ok(()) => wire,
                Err(_) => leader::search(&self.config, None, until).await?,
            },
            None => leader::search(&self.config, None, until).await?,
        };
        let response = ask(&mut wire, request, deadline).await?;
        let address = wire.address().leads_as().to_owned();
        self.wire = Some(wire);
        Ok((response, address))
    }

    async fn ask_node(&self, address: &str, request: &Request<'_>) -> Result<Response> {
        let deadline = clock::now() + TIMEOUT;
        let address = Address::parse(address)?;
        let mut wire = leader::connect(&self.config, &address, deadline).await?;
        ask(&mut wire, request, deadline).await
    }
}

async fn finish<W: AsyncWrite + Unpin>(writer: &mut Option<W>) -> io::Result<()> {
    match writer.take() {
        Some(mut writer) => writer.flush().await,
        None => Ok(()),
    }
}

async fn reaches(config: &Config, node: &str, deadline: Instant) -> bool {
    match Address::parse(node) {
        Ok(address) => probe(config, &address, deadline).await.is_ok(),
        Err(_) => false,
    }
}

/// Asks one node, leader or not, who leads and who is in its cluster.
pub async fn probe(config: &Config, address: &Address, deadline: Instant) -> Result<Standing> {
    let mut wire = leader::connect(config, address, deadline).await?;
    let leader = ask(&mut wire, &Request::Leader, deadline).await?;
    let members = ask(&mut wire, &Request::cluster(), deadline).await?;
    Ok(Standing {
        leader: super::leader(leader, address.as_str())?,
        members: super::members(members, address.as_str())?,
    })
}

async fn ask(wire: &mut Wire, request: &Request<'_>, deadline: Instant) -> Result<Response> {
    let address = wire.address().to_string();
    let mut ask = Ask::start(wire.session_mut(), request, &address)?;
    wire.run(&mut ask, deadline).await
}
