//! What a client needs to know: where the cluster is, which database, how long to wait.
//!
//! ```text
//! dqlite://h1:9001,h2:9001,[fd00::3]:9001/app?timeout=5s
//! dqlites://h1:9001/app?ca=/etc/app/ca.pem&cert=/etc/app/app.pem&key=/etc/app/app.key
//! dqlite+unix:///run/app/node.sock?database=app
//! file:///var/lib/app/cluster.yaml?database=app&save=1
//! h1:9001,h2/app
//! ```

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dqlite_proto::{Limits, NodeInfo, Session, name};

use crate::address::Address;
use crate::clock;
use crate::error::{Error, Result};
use crate::flight::{Flight, Shared};
use crate::hello::Purpose;
use crate::memory::Memory;
use crate::node_store::{self, NodeStore};
use crate::search::{Bounds, Search};
use crate::secure::Security;
#[cfg(feature = "tls")]
use crate::tls::{Options, Tls};

/// How to reach a cluster and one database in it. Clones share what is learnt on the way: the
/// leader, the members, what each server can do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses given by the user; never forgotten.
    pub hosts: Vec<Address>,
    /// The database.
    pub database: String,
    /// How long a call may take as a whole.
    pub timeout: Duration,
    /// How long it may take to find the leader, connect and open the database.
    pub connect_timeout: Duration,
    /// What to believe at most of what servers say.
    pub limits: Limits,
    pub(crate) security: Security,
    #[cfg(feature = "tokio")]
    pub(crate) dialer: Option<Arc<dyn crate::dialer::Dialer>>,
    pub(crate) store: Arc<dyn NodeStore>,
    pub(crate) memory: Arc<Memory>,
}

impl Config {
    /// The database where none is named.
    pub const DATABASE: &'static str = "default";
    /// The usual time for a call.
    pub const TIMEOUT: Duration = Duration::from_mins(1);
    /// The usual time to connect.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

    /// A cluster whose nodes are among `hosts`.
    pub fn new(hosts: impl IntoIterator<Item = Address>) -> Self {
        Self {
            hosts: hosts.into_iter().collect(),
            database: Self::DATABASE.to_owned(),
            timeout: Self::TIMEOUT,
            connect_timeout: Self::CONNECT_TIMEOUT,
            limits: Limits::default(),
            #[cfg(feature = "tokio")]
            dialer: None,
            security: Security::default(),
            store: Arc::new(node_store::Memory::default()),
            memory: Arc::default(),
        }
    }

    /// Reads a URL, a node-store file or a list of hosts; see the [module page](self).
    pub fn parse(target: &str) -> Result<Self> {
        let wrong = |why: String| Error::config(format!("{why} in {target:?}"));
        let (scheme, rest) = split_scheme(target);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut save = false;
        #[cfg(feature = "tls")]
        let mut tls = Options::default();
        let mut config = match scheme {
            "dqlite" | "dqlites" => hosts_and_database(rest, target)?,
            "" => {
                refuse_file_name(rest)?;
                hosts_and_database(rest, target)?
            }
            "dqlite+unix" => {
                let path = absolute(rest).map_err(wrong)?;
                Self::new([Address::unix(path, None)])
            }
            "file" => Self::new([]),
            other => return Err(wrong(format!("unknown scheme {other:?}"))),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value).map_err(wrong)?;
            match key {
                "timeout" => config.timeout = duration(&value).map_err(wrong)?,
                "connect_timeout" => config.connect_timeout = duration(&value).map_err(wrong)?,
                "database" => config.database = value,
                "save" if scheme == "file" => save = value == "1" || value == "true",
                #[cfg(feature = "tls")]
                _ if scheme.ends_with('s') && tls.take(key, &value) => {}
                _ => return Err(wrong(format!("unknown option {key:?}"))),
            }
        }
        #[cfg(not(feature = "tls"))]
        if scheme == "dqlites" {
            return Err(wrong("TLS, built without the feature tls,".to_owned()));
        }
        #[cfg(feature = "tls")]
        if scheme == "dqlites" {
            let loaded = tls.or_environment(variable).load();
            config.security = Security::Tls(loaded.map_err(|error| wrong(error.to_string()))?);
        }
        if scheme == "file" {
            config.store = file(&absolute(rest).map_err(wrong)?, save)?;
        }
        config.check()
    }

    /// Reads the environment: `DQLITE_URL`, else `DQLITE_HOSTS`, else `localhost:9001`; then
    /// `DQLITE_DATABASE`, `DQLITE_TIMEOUT` and `DQLITE_CONNECT_TIMEOUT` where the URL is silent.
    /// `DQLITE_TLS_CA`, with `_CERT`, `_KEY` and `_NAME`, means TLS, whatever the URL says.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(variable)
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let url = variable("DQLITE_URL");
        let target = url.clone().or_else(|| variable("DQLITE_HOSTS"));
        let mut config = Self::parse(target.as_deref().unwrap_or("localhost:9001"))?;
        let options = url.iter().flat_map(|url| url.split(['?', '&']).skip(1));
        let named = |option: &str| options.clone().any(|pair| pair.starts_with(option));
        if let Some(database) = variable("DQLITE_DATABASE")
            && config.database == Self::DATABASE
        {
            config.database = database;
        }
        let time = |name: &str, option: &str| match variable(name) {
            Some(text) if !named(option) => duration(&text)
                .map(Some)
                .map_err(|why| Error::config(format!("{why} in {name}"))),
            _ => Ok(None),
        };
        if let Some(timeout) = time("DQLITE_TIMEOUT", "timeout=")? {
            config.timeout = timeout;
        }
        if let Some(timeout) = time("DQLITE_CONNECT_TIMEOUT", "connect_timeout=")? {
            config.connect_timeout = timeout;
        }
        #[cfg(feature = "tls")]
        if matches!(config.security, Security::Plain) && variable("DQLITE_TLS_CA").is_some() {
            let loaded = Options::default().or_environment(variable).load();
            config.security = Security::Tls(loaded.map_err(|error| {
                Error::config(format!("{error} in DQLITE_TLS_CA, _CERT, _KEY and _NAME"))
            })?);
        }
        config.check()
    }

    /// The same cluster, dialled with TLS. Unix sockets stay without: their mode protects them.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.security = Security::Tls(tls);
        self
    }

    /// Whether TCP is dialled with TLS.
    pub const fn is_secure(&self) -> bool {
        !matches!(self.security, Security::Plain)
    }

    /// The same cluster, another database.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<String>) -> Self {
        self.database = database.into();
        self
    }

    /// The same with another time for each call.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with another time to connect.
    #[must_use]
    pub const fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The same with members remembered in `store`.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn NodeStore>) -> Self {
        self.store = store;
        self
    }

    /// Refuses what can be known to be wrong without asking anybody.
    pub fn check(self) -> Result<Self> {
        name::check_database(&self.database).map_err(|violation| {
            Error::config(format!("database {:?}: {violation}", self.database))
        })?;
        if self.hosts.is_empty() && self.store.get()?.is_empty() {
            return Err(Error::config("no addresses of the cluster are given"));
        }
        Ok(self)
    }

    /// Says that a connection to that server was lost, or that it does not lead any more: the next
    /// search does not begin with it. The drivers of this crate say so themselves.
    pub fn forget(&self, server: &Address) {
        self.memory.forget(server);
    }

    /// A search for the leader among everybody that is known, `leader` before all.
    pub(crate) fn search(&self, leader: Option<&Address>, deadline: Instant) -> Shared {
        let members = self.store.get().unwrap_or_else(|error| {
            tracing::warn!(target: "dqlite", %error, "the node store cannot be read");
            Vec::new()
        });
        let bounds = Bounds::until(Some(deadline), fastrand::u64(..));
        let search = Search::new(leader, &members, &self.hosts, bounds, clock::now());
        Arc::new(Mutex::new(search))
    }

    /// The right to search among everybody, after `leader` was asked alone. Else what to wait for
    /// before beginning anew: the search of somebody else, or one that has just ended.
    pub(crate) fn take_off(
        &self,
        search: &Shared,
        leader: Option<&Address>,
    ) -> Result<Flight, Shared> {
        let flight = self.memory.take_off(search)?;
        match self.memory.leader() {
            Some(known) if leader == Some(&known) => self.memory.forget(&known),
            Some(_) => return Err(Arc::clone(search)),
            None => {}
        }
        Ok(flight)
    }

    /// Who led when last seen, by any clone; nobody if that has become doubtful.
    pub fn leader(&self) -> Option<Address> {
        self.memory.leader()
    }

    /// Changes whenever connections made before may not be with the leader any more. One that was
    /// made before and is not in use must be asked before it is used again, or closed.
    pub fn epoch(&self) -> u64 {
        self.memory.epoch()
    }

    /// A session with a server, of which nothing is asked that is known.
    pub(crate) fn session(&self, server: &Address) -> Session {
        let mut session = Session::new(self.limits.clone());
        if let Some((class, capabilities)) = self.memory.class(server) {
            session.assume(class);
            session.assume_capabilities(capabilities);
        }
        session
    }

    /// What a connection to the leader is for.
    pub(crate) fn purpose(&self, database: Option<&str>, now: Instant) -> Purpose {
        Purpose {
            database: database.map(str::to_owned),
            ask_members: true,
            learn_members: self.memory.is_stale(now),
            any: false,
        }
    }

    /// Remembers what a successful connection has taught.
    pub(crate) fn connected(
        &self,
        server: &Address,
        session: &Session,
        members: Option<Vec<NodeInfo>>,
    ) {
        if let Some(class) = session.class() {
            self.memory
                .learn_class(server, class, session.capabilities());
        }
        let Some(members) = members else {
            return;
        };
        self.memory.refreshed(clock::now());
        if let Err(error) = self.store.set(&members) {
            tracing::warn!(target: "dqlite", %error, "the members cannot be saved");
        }
    }
}

/// What the environment says; empty is unsaid.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(feature = "yaml")]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the twin without the feature can only fail"
)]
fn file(path: &str, save: bool) -> Result<Arc<dyn NodeStore>> {
    Ok(Arc::new(node_store::YamlFile::new(path, save)))
}

#[cfg(not(feature = "yaml"))]
fn file(path: &str, _save: bool) -> Result<Arc<dyn NodeStore>> {
    Err(Error::config(format!(
        "node store {path}: built without the feature yaml"
    )))
}

/// Splits off what stands before `://`, or `file:`.
fn split_scheme(target: &str) -> (&str, &str) {
    match target.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => target
            .strip_prefix("file:")
            .map_or(("", target), |rest| ("file", rest)),
    }
}

fn hosts_and_database(text: &str, target: &str) -> Result<Config> {
    let wrong = |why: String| Error::config(format!("{why} in {target:?}"));
    let (hosts, database) = text.split_once('/').unwrap_or((text, ""));
    if hosts.contains('@') {
        return Err(wrong(
            "dqlite knows no users and passwords: remove what is before @".into(),
        ));
    }
    let hosts = hosts.split(',').map(|host| Address::parse(host.trim()));
    let config = Config::new(hosts.collect::<Result<Vec<_>>>()?);
    if database.is_empty() {
        return Ok(config);
    }
    Ok(config.with_database(decode(database).map_err(wrong)?))
}

/// One word that is meant to be a file, as with SQLite itself.
fn refuse_file_name(text: &str) -> Result<()> {
    let file = [".db", ".sqlite", ".sqlite3"]
        .iter()
        .any(|end| text.ends_with(end));
    if text == ":memory:" || (file && !text.contains(['/', ','])) || text.starts_with(['/', '.']) {
        return Err(Error::config(format!(
            "{text:?} looks like a file; dqlite connects to servers: \
             give HOST:PORT, a list of them, or dqlite://HOST:PORT/DATABASE"
        )));
    }
    Ok(())
}

fn absolute(path: &str) -> Result<String, String> {
    if path.starts_with('/') {
        return decode(path);
    }
    Err(format!("the path {path:?} is not absolute"))
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digit = |byte: &u8| {
            char::from(*byte)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let [high, low, after @ ..] = rest else {
            return Err("an incomplete % escape".to_owned());
        };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else {
            return Err("a wrong % escape".to_owned());
        };
        bytes.push(high << 4 | low);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| "text that is not UTF-8".to_owned())
}

/// Reads `5`, `5s` or `250ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * unit).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("{text:?} is no time; write 5, 5s or 250ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(config: &Config) -> Vec<String> {
        config.hosts.iter().map(Address::canonical).collect()
    }

    #[test]
    fn targets_of_every_form_are_read() {
        let config = Config::parse("dqlite://h1:1,H2,[fd00::3]:3/app?timeout=5s").unwrap();
        assert_eq!(hosts(&config), ["h1:1", "h2:9001", "[fd00::3]:3"]);
        assert_eq!(
            (config.database.as_str(), config.timeout.as_secs()),
            ("app", 5)
        );
        let config = Config::parse("h1:9001, h2/app").unwrap();
        assert_eq!((hosts(&config).len(), config.database.as_str()), (2, "app"));
        let config = Config::parse("dqlite+unix:///run/a%20b.sock?database=app").unwrap();
        assert_eq!(hosts(&config), ["/run/a b.sock"]);
        let config = Config::parse("h1?connect_timeout=250ms").unwrap();
        assert_eq!(config.connect_timeout, Duration::from_millis(250));
        assert_eq!(config.database, "default");
    }

    #[test]
    fn wrong_targets_say_what_is_wrong() {
        for (target, why) in [
            ("", "is empty"),
            ("app.db", "looks like a file"),
            (":memory:", "looks like a file"),
            ("./app", "looks like a file"),
            ("dqlite://user:secret@h:1/app", "no users and passwords"),
            ("dqlite://h:0/app", "port 0"),
            ("dqlite://h:70000/app", "above 65535"),
            ("dqlite://h/app?colour=red", "unknown option \"colour\""),
            ("dqlite://h/app?timeout=soon", "no time"),
            ("dqlite://h/app?timeout=0", "no time"),
            ("dqlite://h/app?timeout=-1", "no time"),
            ("dqlite://h/%zz", "% escape"),
            ("dqlite://h/:memory:", "not replicated"),
            ("dqlite://h?database=file:x", "URI"),
            ("dqlites://h/app?ca=/no/such/file", "no such file"),
            ("dqlite://h/app?ca=/no/such/file", "unknown option \"ca\""),
            ("postgres://h/app", "unknown scheme"),
            ("dqlite+unix://node.sock", "not absolute"),
        ] {
            let error = Config::parse(target).unwrap_err();
            assert!(error.to_string().contains(why), "{target}: {error}");
        }
    }

    #[test]
    fn the_environment_fills_what_the_url_leaves_open() {
        let from = |variables: &'static [(&str, &str)]| {
            Config::from_variables(|name| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(hosts(&from(&[]).unwrap()), ["localhost:9001"]);
        let config = from(&[("DQLITE_HOSTS", "a,b"), ("DQLITE_DATABASE", "app")]).unwrap();
        assert_eq!((hosts(&config).len(), config.database.as_str()), (2, "app"));
        let both = from(&[
            ("DQLITE_URL", "dqlite://u:1?database=x&timeout=3"),
            ("DQLITE_HOSTS", "a"),
            ("DQLITE_TIMEOUT", "9"),
            ("DQLITE_CONNECT_TIMEOUT", "2s"),
        ])
        .unwrap();
        assert_eq!(hosts(&both), ["u:1"]);
        assert_eq!(
            (both.timeout.as_secs(), both.connect_timeout.as_secs()),
            (3, 2)
        );
        let error = from(&[("DQLITE_TIMEOUT", "x")]).unwrap_err().to_string();
        assert!(error.contains("in DQLITE_TIMEOUT"), "{error}");
    }

    #[cfg(feature = "yaml")]
    #[test]
    fn a_node_store_file_is_a_target() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        assert!(Config::parse(&format!("file://{path}")).is_err());
        let file = folder.path().join("cluster.yaml");
        std::fs::write(file, "- ID: 1\n  Address: h:1\n  Role: 0\n").unwrap();
        let config = Config::parse(&format!("file://{path}?database=app")).unwrap();
        assert_eq!(config.store.get().unwrap().len(), 1);
    }
}
