//! What the gateway costs: one live node of ours, asked directly and through its gateway.
//!
//! ```text
//! cargo run --release -p dqlite-cli --example latency [ROUNDS]
//! ```
//!
//! The engine's own socket takes connections of its own process only, so node and clients share
//! this one. Ways are measured in turns and medians compared: trust the differences, not the
//! numbers. No client here sets `TCP_QUICKACK`, and none speaks before it has its reply.

#[path = "../src/exports.rs"]
mod exports;

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dqlite_node::engine::{self, LocateOptions};
use dqlite_node::event::{Command, Event};
use dqlite_node::in_flight::InFlight;
use dqlite_node::{NodeConfig, host};
use dqlite_proto::frame::HANDSHAKE;
use dqlite_proto::{Header, ParamsRef, Request, ResponseKind, rows};
use dqlite_testkit::ports;
use dqlite_testkit::raw::{encode, exec, query};
use dqlite_testkit::stock::{StockNode, StockOptions};
use serde_json::json;
use tokio::sync::mpsc;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const ROUNDS: usize = 60;
const PATIENCE: Duration = Duration::from_secs(30);
const DATABASE: &str = "app";
const POINT: &str = "SELECT name FROM t WHERE id = 4711";

/// What is asked for: its name, the statement, and how often in one turn.
const QUESTIONS: [(&str, &str, usize); 4] = [
    ("point query, prepared", POINT, 200),
    (
        "60 rows, 6 KB",
        "SELECT id, name, size, note FROM t LIMIT 60",
        20,
    ),
    (
        "60 rows, 130 KB",
        "SELECT id, name || printf('%.2200c', 'x') FROM t LIMIT 60",
        10,
    ),
    (
        "100,000 rows, 10 MB",
        "SELECT id, name, size, note FROM t",
        1,
    ),
];

fn main() -> Result<()> {
    let rounds = env::args().nth(1).map_or(Ok(ROUNDS), |text| text.parse())?;
    let found = engine::locate(&LocateOptions {
        explicit: env::var_os("DQLITE_ENGINE").map(Into::into),
    })?;
    engine::reexec_through_bundle(&found)?;
    let library = engine::open(&found)?;
    let directory = tempfile::tempdir()?;
    let address = ports::free_address()?;
    let options = json!({"address": address, "data_dir": directory.path()});
    let options = options.as_object().ok_or("no object")?;
    let config = NodeConfig::from_options(options).map_err(|wrong| format!("{wrong:?}"))?;
    let (events, mut told) = mpsc::channel(1024);
    let (commands, asked) = mpsc::channel(4);
    let hosting = thread::Builder::new().name("host".to_owned());
    let hosting = hosting.spawn(move || -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|reason| reason.to_string())?;
        let process = host::Process {
            library,
            started: Instant::now(),
            in_flight: InFlight::new().ok().map(Arc::new),
        };
        let hosted = host::run(config, process, events, asked);
        runtime
            .block_on(hosted)
            .map_err(|reason| reason.to_string())?;
        Ok(())
    })?;
    while !matches!(told.blocking_recv().ok_or("no node")?, Event::Ready { .. }) {}
    thread::spawn(move || while told.blocking_recv().is_some() {});
    measure(&address, directory.path(), rounds)?;
    let stop = Command::Stop {
        n: None,
        handover: false,
        deadline: PATIENCE,
    };
    commands.blocking_send(stop)?;
    hosting.join().map_err(|_| "the host panicked")??;
    Ok(())
}

/// One way to one engine.
struct Way {
    name: &'static str,
    link: Link<Box<dyn Stream>>,
    /// Medians of the turns, in microseconds, by question.
    turns: [Vec<f64>; QUESTIONS.len()],
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

fn measure(address: &str, directory: &Path, rounds: usize) -> Result<()> {
    let stock = StockNode::start(&StockOptions::default())?;
    let mut ways = [
        way("engine's socket", direct()?)?,
        way("gateway, Unix", unix(&directory.join("node.sock"))?)?,
        way("gateway, TCP", tcp(address)?)?,
        way("stock, TCP", tcp(&stock.address)?)?,
    ];
    fill(&mut ways[2])?;
    fill(&mut ways[3])?;
    for way in &mut ways {
        way.link.prepare(POINT)?;
    }
    for round in 0..=rounds {
        for (question, (_, sql, times)) in QUESTIONS.into_iter().enumerate() {
            for way in &mut ways {
                let median = way.link.median(sql, times)?;
                // The first round warms up.
                if round > 0 {
                    way.turns[question].push(median);
                }
            }
        }
    }
    report(&ways)
}

fn report(ways: &[Way]) -> Result<()> {
    let mut out = io::stdout().lock();
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split_whitespace().next().unwrap_or_default();
    writeln!(
        out,
        "microseconds, medians of turns; load of the machine {load}"
    )?;
    for (question, (name, ..)) in QUESTIONS.into_iter().enumerate() {
        writeln!(out, "{name}")?;
        let base = &ways[0].turns[question];
        for way in ways {
            let turns = &way.turns[question];
            let added: Vec<f64> = turns
                .iter()
                .zip(base)
                .map(|(one, base)| one - base)
                .collect();
            let (best, median) = (quantile(turns, 0.1), quantile(turns, 0.5));
            let (least, added) = (quantile(&added, 0.1), quantile(&added, 0.5));
            writeln!(
                out,
                "  {:16} {median:10.1}  added {added:+10.1}   best tenth {best:10.1}, {least:+.1}",
                way.name
            )?;
        }
    }
    Ok(())
}

fn quantile(turns: &[f64], at: f64) -> f64 {
    let mut sorted = turns.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a position in a short list"
    )]
    let place = (at * sorted.len() as f64) as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

fn way(name: &'static str, stream: Box<dyn Stream>) -> Result<Way> {
    let mut link = Link {
        stream,
        statement: 0,
        buffer: vec![0; 256 << 10],
    };
    link.stream.write_all(&HANDSHAKE.to_le_bytes())?;
    link.ask(&encode(&[Request::open(DATABASE)]))?;
    let turns = Default::default();
    Ok(Way { name, link, turns })
}

fn fill(way: &mut Way) -> Result<()> {
    let rows = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 100000)";
    let insert = format!(
        "INSERT INTO t {rows} SELECT x, 'name ' || x, x * 0.5, printf('%.60c', 'n') FROM c"
    );
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, size REAL, note TEXT)";
    for sql in [table, &insert] {
        way.link.ask(&encode(&[exec(sql)]))?;
    }
    Ok(())
}

fn tcp(address: &str) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Box::new(stream))
}

fn unix(path: &Path) -> io::Result<Box<dyn Stream>> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Box::new(stream))
}

/// The socket that the engine of this process listens on: its name is the kernel's choice.
fn direct() -> Result<Box<dyn Stream>> {
    let fds = fs::read_dir("/proc/self/fd")?.flatten();
    let own: Vec<String> = fds
        .filter_map(|fd| fs::read_link(fd.path()).ok()?.to_str().map(str::to_owned))
        .collect();
    let sockets = fs::read_to_string("/proc/net/unix")?;
    for line in sockets.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, flags, _, _, inode, name] = fields[..] else {
            continue;
        };
        let listens = flags == "00010000" && own.contains(&format!("socket:[{inode}]"));
        if let Some(name) = name.strip_prefix('@').filter(|_| listens) {
            let place = SocketAddr::from_abstract_name(name)?;
            let stream = UnixStream::connect_addr(&place)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            return Ok(Box::new(stream));
        }
    }
    Err("the engine listens nowhere".into())
}

/// A client that sends bytes made before, and counts what comes back.
struct Link<S> {
    stream: S,
    statement: u32,
    buffer: Vec<u8>,
}

impl<S: Read + Write> Link<S> {
    fn prepare(&mut self, sql: &str) -> Result<()> {
        let body = self.ask(&encode(&[Request::Prepare { sql }]))?;
        let id = body.get(4..).and_then(<[u8]>::first_chunk).ok_or("no id")?;
        self.statement = u32::from_le_bytes(*id);
        Ok(())
    }

    /// Asks some times, one after the other, and gives the median in microseconds.
    fn median(&mut self, sql: &str, times: usize) -> Result<f64> {
        let request = if sql == POINT {
            encode(&[Request::Query {
                statement: self.statement,
                params: ParamsRef::NONE,
            }])
        } else {
            encode(&[query(sql)])
        };
        let mut took = Vec::with_capacity(times);
        for _ in 0..times {
            let begun = Instant::now();
            self.ask(&request)?;
            took.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(quantile(&took, 0.5))
    }

    /// Sends a request and reads its whole reply; gives the last message.
    fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.stream.write_all(request)?;
        let (mut have, mut begins) = (0, 0);
        loop {
            while let Some(header) = self.buffer[begins..have].first_chunk() {
                let header = Header::decode(*header);
                let size = 8 + usize::try_from(header.body_bytes())?;
                if have - begins < size {
                    break;
                }
                let body = &self.buffer[begins + 8..begins + size];
                if header.kind == ResponseKind::FAILURE.0 {
                    return Err(String::from_utf8_lossy(body).into());
                }
                begins += size;
                let is_rows = header.kind == ResponseKind::ROWS.0;
                if !is_rows || !body.ends_with(&rows::PART.to_le_bytes()) {
                    return Ok(body.to_vec());
                }
            }
            self.buffer.copy_within(begins..have, 0);
            (have, begins) = (have - begins, 0);
            match self.stream.read(&mut self.buffer[have..])? {
                0 => return Err("closed".into()),
                read => have += read,
            }
        }
    }
}
