//! Making a copy: whom to ask, and the conversation with one node.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dqlite_proto::{NodeInfo, Outcome, Request, Retry, Role};

use super::landing::Landing;
use super::{Lag, LocalCopy, OwnFile, Stamp};
use crate::address::Address;
use crate::clock;
use crate::cluster::{self, Ask, Dump, Piece, Standing};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result, reason};
use crate::fd::{self, Interrupt, Link};

/// Time for a node to be reached and to say what it knows; the next one is asked then.
const GREETING_TIMEOUT: Duration = Duration::from_secs(3);

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) config: Config,
    pub(super) directory: Arc<Path>,
    /// The only node to be asked.
    pub(super) node: Option<Address>,
    /// The node that gave the last copy: it is there.
    good: Arc<Mutex<Option<Address>>>,
}

impl Wish {
    pub(super) fn new(config: &Config, directory: &Path) -> Self {
        Self {
            config: config.clone(),
            directory: directory.into(),
            node: None,
            good: Arc::default(),
        }
    }

    fn good(&self) -> MutexGuard<'_, Option<Address>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the database of the first node that has it, followers first.
    pub(super) fn fetch(&self, interrupt: Interrupt<'_>) -> Result<LocalCopy> {
        #[cfg(feature = "tokio")]
        if self.config.dialer.is_some() {
            let text = "local copies are made over the kernel's sockets, not a dialer's";
            return Err(Error::config(text));
        }
        let deadline = clock::later(Instant::now(), self.config.connect_timeout);
        let mut order = Order::new(self)?;
        let mut misses = Vec::new();
        while let Some(address) = order.next() {
            let until = deadline.min(Instant::now() + GREETING_TIMEOUT);
            let copied = match self.greet(&address, until, &mut *interrupt) {
                Ok((_, standing)) if order.puts_off(&address, &standing) => continue,
                Ok((link, standing)) => self.copy(link, standing, &mut *interrupt),
                Err(error) => Err(error),
            };
            match copied {
                // The caller's own affair: another node would not help.
                Err(error) if error.kind() == ErrorKind::Usage => return Err(error),
                Err(error) => misses.push(error),
                Ok(copy) => {
                    *self.good() = Some(address);
                    return Ok(copy);
                }
            }
        }
        Err(self.missed(misses))
    }

    fn greet(
        &self,
        address: &Address,
        until: Instant,
        interrupt: Interrupt<'_>,
    ) -> Result<(Link, Standing)> {
        let mut link = fd::connect(&self.config, address, until, &mut *interrupt)?;
        let text = link.address().to_string();
        let mut ask = |request: &Request<'_>| {
            let mut ask = Ask::start(link.session_mut(), request, &text)?;
            fd::run(&mut link, &mut ask, until, &mut *interrupt)
        };
        let standing = Standing {
            leader: cluster::leader(ask(&Request::Leader)?, &text)?,
            members: cluster::members(ask(&Request::cluster())?, &text)?,
        };
        Ok((link, standing))
    }

    fn copy(
        &self,
        mut link: Link,
        standing: Standing,
        interrupt: Interrupt<'_>,
    ) -> Result<LocalCopy> {
        let address = link.address().clone();
        let role = role(&address, &standing.members);
        if role == Some(Role::Spare) {
            let text = format!("{address} is a spare, which holds no data");
            let error = Error::new(ErrorKind::Connect, text).with_address(address.as_str());
            return Err(error.with_verdict(Outcome::Refused, Retry::Elsewhere));
        }
        let (taken, asked) = (SystemTime::now(), clock::now());
        let (file, bytes) = self.receive(&mut link, interrupt)?;
        let lag = match standing.leader {
            Some(leader) if is_itself(&address, &leader.address) => Lag::Led,
            Some(leader) => Lag::Followed(leader.address),
            None => Lag::Unknown,
        };
        let stamp = Stamp {
            database: self.config.database.clone(),
            address: address.to_string(),
            taken,
            role,
            lag,
            bytes,
        };
        Ok(LocalCopy {
            file: Arc::new(file),
            stamp: Arc::new(stamp),
            asked,
        })
    }

    fn receive(&self, link: &mut Link, interrupt: Interrupt<'_>) -> Result<(OwnFile, u64)> {
        let address = link.address().to_string();
        let database = &self.config.database;
        let mut landing = Landing::begin(&self.directory).map_err(|error| self.unkept(error))?;
        let mut dump = Dump::start(link.session_mut(), database, &address)?;
        loop {
            let Some(piece) = dump.next(link.session_mut())? else {
                let until = clock::later(Instant::now(), self.config.timeout);
                fd::more(link, until, &mut *interrupt)?;
                continue;
            };
            if piece == Piece::End {
                break;
            }
            landing.take(piece).map_err(|error| self.unkept(error))?;
        }
        let landed = landing.finish().map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Error::connect(&address, error),
            _ => self.unkept(error),
        })?;
        // Servers before 1.18.4 answer so; later ones refuse.
        landed.ok_or_else(|| Error::connect(&address, format!("no database {database}")))
    }

    /// The file cannot be written.
    fn unkept(&self, error: io::Error) -> Error {
        let directory = self.directory.display();
        let text = format!(
            "cannot keep a local copy in {directory}: {}",
            reason(&error)
        );
        Error::usage(text).with_source(error)
    }

    /// Nobody gave a copy. What a server refuses for good is the answer; else what each one said.
    fn missed(&self, mut misses: Vec<Error>) -> Error {
        if let Some(at) = misses.iter().position(|miss| miss.failure().is_some()) {
            return misses.swap_remove(at);
        }
        if misses.len() == 1 {
            return misses.swap_remove(0);
        }
        let mut text = format!("no node gave a copy of {}", self.config.database);
        for miss in &misses {
            text.push_str("\n  ");
            text.push_str(&miss.to_string());
        }
        Error::new(ErrorKind::Connect, text).with_verdict(Outcome::NotSent, Retry::Elsewhere)
    }
}

/// Whom to ask next.
struct Order {
    next: VecDeque<Address>,
    /// Everybody who was or will be asked.
    known: Vec<Address>,
    /// Whether the leader may still be put behind the others.
    may_put_off: bool,
}

impl Order {
    /// Whoever gave the last copy, members that hold data and are not known to lead, what the user
    /// gave, the leader.
    fn new(wish: &Wish) -> Result<Self> {
        let mut order = Self {
            next: VecDeque::new(),
            known: Vec::new(),
            may_put_off: wish.node.is_none(),
        };
        if let Some(node) = &wish.node {
            order.add(node.clone());
            return Ok(order);
        }
        let leader = wish.config.leader();
        let is_leader = |address: &Address| leader.as_ref() == Some(address);
        let members = wish.config.store.get()?;
        let good = wish.good().clone();
        let given = wish.config.hosts.iter().cloned();
        for address in good.into_iter().chain(holders(&members)).chain(given) {
            if !is_leader(&address) {
                order.add(address);
            }
        }
        if let Some(leader) = leader {
            order.add(leader);
        }
        Ok(order)
    }

    fn add(&mut self, address: Address) {
        if !self.known.contains(&address) {
            self.known.push(address.clone());
            self.next.push_back(address);
        }
    }

    fn next(&mut self) -> Option<Address> {
        self.next.pop_front()
    }

    /// Whether somebody else should be asked first: the leader has better things to do.
    fn puts_off(&mut self, address: &Address, standing: &Standing) -> bool {
        let leads = |leader: &cluster::NodeRef| is_itself(address, &leader.address);
        let is_leader = standing.leader.as_ref().is_some_and(leads);
        if !is_leader || !self.may_put_off {
            return false;
        }
        for other in holders(&standing.members) {
            if !is_itself(address, other.as_str()) {
                self.add(other);
            }
        }
        if self.next.is_empty() {
            return false;
        }
        self.may_put_off = false;
        self.next.push_back(address.clone());
        true
    }
}

/// Where members are that hold data; stand-bys before voters, which have more to do.
fn holders(members: &[NodeInfo]) -> impl Iterator<Item = Address> {
    let with = |role| members.iter().filter(move |member| member.role == role);
    let ordered = with(Role::StandBy).chain(with(Role::Voter));
    ordered.filter_map(|member| Address::advertised(&member.address).ok())
}

fn is_itself(address: &Address, named: &str) -> bool {
    Address::advertised(named).is_ok_and(|named| address.is_named(&named))
}

fn role(address: &Address, members: &[NodeInfo]) -> Option<Role> {
    let itself = |member: &&NodeInfo| is_itself(address, &member.address);
    members.iter().find(itself).map(|member| member.role)
}
