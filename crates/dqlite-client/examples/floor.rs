//! How far the client is from the floor, on a stock engine of the bundle:
//!
//! - a point query on one connection, against a bare socket loop that sends the same bytes;
//! - the CPU time of reading 100,000 rows, against the engine's own.
//!
//! ```text
//! cargo run --release -p dqlite-client --example floor
//! ```
//!
//! Repetitions are interleaved and medians compared: trust the ratios, not the numbers.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use dqlite_client::proto::{
    Event, Limits, Params, Request, Response, ServerClass, Session, ValueRef,
};
use dqlite_client::{Address, Config, blocking};
use dqlite_testkit::stock::{StockNode, StockOptions};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::{SysconfVar, sysconf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 15;
const QUERIES: u32 = 2000;
const SCANS: u32 = 10;
const ROWS: i64 = 100_000;
const POINT: &str = "SELECT name FROM t WHERE id = ?";
const SCAN: &str = "SELECT id, name, size FROM t";

fn main() -> Result<()> {
    let node = StockNode::start(&StockOptions::default())?;
    let config = Config::new([Address::parse(&node.address)?]);
    let mut connection = blocking::Connection::open(&config)?;
    fill(&mut connection)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    points(&mut connection, &runtime, &config, &node.address)?;
    scans(&mut connection, node.pid)
}

fn fill(connection: &mut blocking::Connection) -> Result<()> {
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, size REAL)";
    connection.execute(table, ())?;
    let numbers = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ?)";
    let insert = format!("INSERT INTO t {numbers} SELECT x, 'name ' || x, x * 0.5 FROM c");
    connection.execute(&insert, (ROWS,))?;
    Ok(())
}

fn points(
    connection: &mut blocking::Connection,
    runtime: &tokio::runtime::Runtime,
    config: &Config,
    address: &str,
) -> Result<()> {
    let mut tokio = runtime.block_on(dqlite_client::connect(config))?;
    let mut bare = Bare::open(address)?;
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..=ROUNDS {
        let measured = [
            each(|id| bare.ask(id))?,
            each(|id| {
                black_box(connection.query(POINT, (id,))?);
                Ok(())
            })?,
            runtime.block_on(async {
                let started = Instant::now();
                for id in ids() {
                    black_box(tokio.query(POINT, (id,)).await?);
                }
                Ok::<_, Box<dyn Error>>(per_query(started.elapsed()))
            })?,
        ];
        // The first round warms up.
        if round > 0 {
            for (all, one) in times.iter_mut().zip(measured) {
                all.push(one);
            }
        }
    }
    let [bare, blocking, tokio] = times.map(median);
    say(&format!(
        "point query: bare socket {bare:.1} us; blocking {blocking:.1} us, ratio {:.3}; \
         tokio {tokio:.1} us, ratio {:.3}",
        blocking / bare,
        tokio / bare
    ));
    Ok(())
}

fn ids() -> impl Iterator<Item = i64> {
    (1..).step_by(37).take(QUERIES as usize)
}

fn each(mut ask: impl FnMut(i64) -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    ids().try_for_each(&mut ask)?;
    Ok(per_query(started.elapsed()))
}

fn per_query(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e6 / f64::from(QUERIES)
}

fn scans(connection: &mut blocking::Connection, engine: u32) -> Result<()> {
    let (mut whole, mut streamed) = (Vec::new(), Vec::new());
    let mut seconds = Vec::new();
    for _ in 0..SCANS {
        let started = Instant::now();
        whole.push(share(engine, || {
            let rows = connection.query(SCAN, ())?;
            let mut sum = 0;
            for row in &rows {
                sum += row.get::<i64>(0)?;
            }
            black_box(sum);
            Ok(())
        })?);
        seconds.push(started.elapsed().as_secs_f64());
        streamed.push(share(engine, || {
            let mut sum = 0;
            for row in connection.query_stream(SCAN, ())? {
                sum += row?.get::<i64>(0)?;
            }
            black_box(sum);
            Ok(())
        })?);
    }
    // The engine's clock ticks every 10 ms, so sums are compared, not single scans.
    let percent = |shares: &[(f64, f64)]| {
        let ours: f64 = shares.iter().map(|(ours, _)| ours).sum();
        let theirs: f64 = shares.iter().map(|(_, theirs)| theirs).sum();
        (100.0 * ours / theirs, 1000.0 * theirs / f64::from(SCANS))
    };
    let ((all, engine), (stream, _)) = (percent(&whole), percent(&streamed));
    say(&format!(
        "scan of {ROWS} rows: {:.0} ms, engine CPU {engine:.0} ms; client CPU {all:.1} % of it \
         collected, {stream:.1} % streamed",
        1000.0 * median(seconds)
    ));
    Ok(())
}

/// CPU seconds that this thread and the engine's process need for something.
fn share(engine: u32, run: impl FnOnce() -> Result<()>) -> Result<(f64, f64)> {
    let before = (own_cpu()?, process_cpu(engine)?);
    run()?;
    Ok((own_cpu()? - before.0, process_cpu(engine)? - before.1))
}

fn own_cpu() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?).as_secs_f64())
}

fn process_cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = behind_name.split_whitespace().skip(11);
    let mut ticks = || Ok::<f64, Box<dyn Error>>(fields.next().ok_or("a short stat")?.parse()?);
    let per_second = sysconf(SysconfVar::CLK_TCK)?.ok_or("no clock")?;
    Ok((ticks()? + ticks()?) / f64::from(i32::try_from(per_second)?))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The result, on stdout: that is what the program is for.
fn say(line: &str) {
    let written = writeln!(std::io::stdout(), "{line}");
    debug_assert!(written.is_ok());
}

/// A socket and nothing else: the bytes are made before, and what comes back is counted only.
struct Bare {
    socket: TcpStream,
    session: Session,
    statement: u32,
    buffer: Vec<u8>,
}

impl Bare {
    fn open(address: &str) -> Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let mut bare = Self {
            socket,
            session: Session::new(Limits::default()),
            statement: 0,
            buffer: vec![0; 64 << 10],
        };
        bare.reply(&Request::open(Config::DATABASE))?;
        if let Response::Stmt { id, .. } = bare.reply(&Request::Prepare { sql: POINT })? {
            bare.statement = id;
        }
        Ok(bare)
    }

    /// Preparation, with the help of the session.
    fn reply(&mut self, request: &Request<'_>) -> Result<Response> {
        self.session.queue(request)?;
        let output = self.session.output().to_vec();
        self.socket.write_all(&output)?;
        self.session.sent(output.len());
        loop {
            let read = self.socket.read(&mut self.buffer)?;
            self.session.input().extend_from_slice(&self.buffer[..read]);
            if let Some(Event::Reply { response, .. }) = self.session.event()? {
                return Ok(response);
            }
        }
    }

    fn ask(&mut self, id: i64) -> Result<()> {
        let mut params = Params::new();
        params.push(ValueRef::Integer(id))?;
        let statement = self.statement;
        let request = Request::Query {
            statement,
            params: params.as_ref(),
        };
        let mut bytes = Vec::with_capacity(64);
        request.encode(request.schema(ServerClass::D)?, &mut bytes)?;
        self.socket.write_all(&bytes)?;
        let mut got = 0;
        loop {
            got += self.socket.read(&mut self.buffer[got..])?;
            let words = self
                .buffer
                .first_chunk()
                .map_or(0, |w| u32::from_le_bytes(*w));
            if got >= 8 && got >= 8 + 8 * words as usize {
                return Ok(());
            }
        }
    }
}
