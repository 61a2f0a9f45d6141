//! A bare socket loop that sends the bytes of one point query again and again: what no client can
//! beat. `floor ADDRESS DATABASE COUNT` prints the seconds it took and the CPU seconds it used.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const OPEN: u8 = 3;
const QUERY_SQL: u8 = 9;
const INTEGER: u8 = 1;
const FAILURE: u8 = 0;
const KEYS: u64 = 1000;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("floor ADDRESS DATABASE COUNT");
    let (address, database, count) = (next()?, next()?, next()?.parse::<u64>()?);
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.write_all(&1_u64.to_le_bytes())?;
    let mut body = text(&database);
    body.extend(0_u64.to_le_bytes());
    body.extend(text("volatile"));
    ask(&mut socket, &message(OPEN, body))?;
    let warm = count / 10;
    run(&mut socket, warm)?;
    let (begun, used) = (Instant::now(), cpu_seconds()?);
    run(&mut socket, count)?;
    println!("{} {}", begun.elapsed().as_secs_f64(), cpu_seconds()? - used);
    Ok(())
}

fn run(socket: &mut TcpStream, count: u64) -> Result<()> {
    let mut body = 0_u64.to_le_bytes().to_vec();
    body.extend(text("SELECT id, name FROM point WHERE id = ?"));
    body.extend([1, INTEGER, 0, 0, 0, 0, 0, 0]);
    body.extend(0_u64.to_le_bytes());
    let mut query = message(QUERY_SQL, body);
    let key = query.len() - 8;
    for i in 0..count {
        query[key..].copy_from_slice(&(i % KEYS + 1).to_le_bytes());
        ask(socket, &query)?;
    }
    Ok(())
}

fn ask(socket: &mut TcpStream, request: &[u8]) -> Result<()> {
    socket.write_all(request)?;
    let mut reply = [0_u8; 4096];
    let mut have = 0;
    loop {
        have += socket.read(&mut reply[have..])?;
        let Some(words) = reply[..have].first_chunk::<4>() else {
            continue;
        };
        if have >= 8 + 8 * u32::from_le_bytes(*words) as usize {
            return if reply[4] == FAILURE { Err("the server said no".into()) } else { Ok(()) };
        }
    }
}

fn message(kind: u8, body: Vec<u8>) -> Vec<u8> {
    let words = u32::try_from(body.len() / 8).expect("a short body");
    let mut out = words.to_le_bytes().to_vec();
    out.extend([kind, 0, 0, 0]);
    out.extend(body);
    out
}

fn text(text: &str) -> Vec<u8> {
    let mut out = text.as_bytes().to_vec();
    out.push(0);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

/// User and system time of this process, of `/proc`'s hundredths of a second.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let rest = stat.rsplit_once(')').ok_or("no stat")?.1;
    let ticks = |at: usize| -> Result<f64> {
        Ok(rest.split_whitespace().nth(at).ok_or("no stat")?.parse::<f64>()?)
    };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
