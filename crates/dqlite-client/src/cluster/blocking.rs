//! Administration for programs without a runtime.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use dqlite_proto::{File, Metadata, NodeInfo, Request, Response, Role};

use super::{Ask, Change, Dump, Next, NodeRef, Operation, Piece, Standing};
use crate::address::Address;
use crate::clock;
use crate::config::Config;
use crate::error::Result;
use crate::fd::{self, Link, never};

/// Time for requests that read.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Administers the cluster of a configuration. Each call has its own deadline and may be repeated
/// after any error.
#[derive(Debug)]
pub struct Admin {
    config: Config,
    link: Option<Link>,
    force: bool,
}

impl Admin {
    /// Nothing is sent before the first call.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            link: None,
            force: false,
        }
    }

    /// Has the next change done without a look at who answers.
    pub const fn forced(&mut self) -> &mut Self {
        self.force = true;
        self
    }

    /// Who leads.
    pub fn leader(&mut self) -> Result<NodeRef> {
        let deadline = clock::later(Instant::now(), self.config.connect_timeout);
        loop {
            let (response, from) = self.ask_leader(&Request::Leader, deadline)?;
            if let Some(leader) = super::leader(response, &from)? {
                return Ok(leader);
            }
            self.link = None;
        }
    }

    /// The members, as the leader knows them.
    pub fn cluster(&mut self) -> Result<Vec<NodeInfo>> {
        let deadline = clock::later(Instant::now(), self.config.connect_timeout);
        let (response, from) = self.ask_leader(&Request::cluster(), deadline)?;
        super::members(response, &from)
    }

    /// Adds a node in a role. Done at once if it is there already. One that is to be a voter must
    /// answer; see [`forced`](Self::forced).
    pub fn add(&mut self, id: u64, address: &str, role: Role) -> Result<()> {
        self.change(Change::add(id, address, role)?)
    }

    /// Gives a member another role. A new voter may need a minute to catch up, and must answer.
    pub fn assign(&mut self, id: u64, role: Role) -> Result<()> {
        self.change(Change::Assign { id, role })
    }

    /// Removes a member. A leader hands leadership over first; a voter is replaced by a stand-by
    /// or a spare that answers. Refused for the last voter, and where of the voters that stay no
    /// majority answers; see [`forced`](Self::forced).
    pub fn remove(&mut self, id: u64) -> Result<()> {
        self.change(Change::Remove { id })
    }

    /// Hands leadership to a voter, or to whom the leader picks.
    pub fn transfer(&mut self, to: Option<u64>) -> Result<()> {
        self.change(Change::Transfer { to })
    }

    /// What a node tells of itself.
    pub fn describe(&self, address: &str) -> Result<Metadata> {
        super::metadata(&self.ask_node(address, &Request::describe())?, address)
    }

    /// Sets the weight of a node until it restarts.
    pub fn weight(&self, address: &str, weight: u64) -> Result<()> {
        super::empty(
            &self.ask_node(address, &Request::Weight { weight })?,
            address,
        )
    }

    /// The files of a database, from the leader. The leader stands still while it copies them.
    pub fn dump(&mut self, database: &str) -> Result<Vec<File>> {
        let deadline = clock::later(Instant::now(), self.config.timeout);
        let (response, from) = self.ask_leader(&Request::Dump { name: database }, deadline)?;
        super::files(response, &from)
    }

    /// The files of a database, from the node at that address, whose copy may lag behind.
    pub fn dump_from(&self, address: &str, database: &str) -> Result<Vec<File>> {
        let response = self.ask_node(address, &Request::Dump { name: database })?;
        super::files(response, address)
    }

    /// The files of a database as they come, from the leader, each into the writer that `open`
    /// makes of its name and size; returns how many bytes there were. No more of it is held than
    /// has just arrived. The configuration's `timeout` bounds each wait, not the whole.
    pub fn dump_to<W: Write>(
        &mut self,
        database: &str,
        mut open: impl FnMut(&str, u64) -> io::Result<W>,
    ) -> Result<u64> {
        let deadline = clock::later(Instant::now(), self.config.timeout);
        let until = deadline.min(clock::later(Instant::now(), self.config.connect_timeout));
        let mut link = fd::search(&self.config, None, until, &mut never)?;
        let address = link.address().to_string();
        let mut dump = Dump::start(link.session_mut(), database, &address)?;
        let (mut writer, mut total) = (None, 0);
        loop {
            let Some(piece) = dump.next(link.session_mut())? else {
                fd::more(
                    &mut link,
                    clock::later(Instant::now(), self.config.timeout),
                    &mut never,
                )?;
                continue;
            };
            let written = match piece {
                Piece::File { name, size } => {
                    finish(&mut writer).and_then(|()| open(&name, size).map(|w| writer = Some(w)))
                }
                Piece::Bytes(bytes) => {
                    total += bytes.len() as u64;
                    writer.iter_mut().try_for_each(|w| w.write_all(&bytes))
                }
                Piece::End => {
                    finish(&mut writer).map_err(super::unwritten)?;
                    return Ok(total);
                }
            };
            written.map_err(super::unwritten)?;
        }
    }

    fn change(&mut self, change: Change) -> Result<()> {
        let deadline = clock::later(Instant::now(), change.timeout());
        let force = std::mem::take(&mut self.force);
        let mut operation = Operation::new(change, fastrand::u64(..)).forced(force);
        loop {
            match operation.next(Instant::now(), deadline)? {
                Next::Done => return Ok(()),
                Next::Pause(time) => std::thread::sleep(time),
                Next::Lead => {
                    let (response, from) = self.ask_leader(&Request::cluster(), deadline)?;
                    operation.seen(super::members(response, &from)?, &from);
                }
                Next::Reach(nodes) => {
                    let mut up = Vec::new();
                    for node in nodes {
                        let until = Instant::now() + super::REACH_TIMEOUT;
                        if reaches(&self.config, &node, until) {
                            up.push(node);
                        }
                    }
                    operation.reached(up);
                }
                Next::Ask(request) => {
                    let answer = self.ask_leader(&request, deadline);
                    let answer = answer.and_then(|(answer, from)| super::empty(&answer, &from));
                    if operation.answered(answer)? {
                        self.link = None;
                    }
                }
            }
        }
    }

    /// Asks the leader; also returns under which address it leads.
    fn ask_leader(
        &mut self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<(Response, String)> {
        let until = deadline.min(clock::later(Instant::now(), self.config.connect_timeout));
        let usable = |link: &mut Link| fd::ready(link, deadline, &mut never).is_ok();
        let mut link = match self.link.take_if(usable) {
            Some(link) => link,
            None => fd::search(&self.config, None, until, &mut never)?,
        };
        let response = ask(&mut link, request, deadline)?;
        let address = link.address().leads_as().to_owned();
        self.link = Some(link);
        Ok((response, address))
    }

    fn ask_node(&self, address: &str, request: &Request<'_>) -> Result<Response> {
        let deadline = Instant::now() + TIMEOUT;
        let address = Address::parse(address)?;
        let mut link = fd::connect(&self.config, &address, deadline, &mut never)?;
        ask(&mut link, request, deadline)
    }
}

fn finish<W: Write>(writer: &mut Option<W>) -> io::Result<()> {
    writer.take().map_or(Ok(()), |mut writer| writer.flush())
}

fn reaches(config: &Config, node: &str, deadline: Instant) -> bool {
    match Address::parse(node) {
        Ok(address) => probe(config, &address, deadline).is_ok(),
        Err(_) => false,
    }
}

/// Asks one node, leader or not, who leads and who is in its cluster.
pub fn probe(config: &Config, address: &Address, deadline: Instant) -> Result<Standing> {
    let mut link = fd::connect(config, address, deadline, &mut never)?;
    let leader = ask(&mut link, &Request::Leader, deadline)?;
    let members = ask(&mut link, &Request::cluster(), deadline)?;
    Ok(Standing {
        leader: super::leader(leader, address.as_str())?,
        members: super::members(members, address.as_str())?,
    })
}

fn ask(link: &mut Link, request: &Request<'_>, deadline: Instant) -> Result<Response> {
    let address = link.address().to_string();
    let mut ask = Ask::start(link.session_mut(), request, &address)?;
    fd::run(link, &mut ask, deadline, &mut never)
}
