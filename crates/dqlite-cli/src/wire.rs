//! `dqlite wire`: captures of the protocol as text.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use dqlite_proto::trace::{Direction, Trace};

/// Tools for the wire protocol.
#[derive(Debug, Subcommand)]
pub(crate) enum Wire {
    /// Print a capture of one direction of a connection, message by message.
    Decode(Decode),
}

#[derive(Args, Debug)]
pub(crate) struct Decode {
    /// Raw bytes of one direction, from the first byte of the connection; `-` reads stdin.
    capture: PathBuf,
    /// Which way the bytes went.
    #[arg(long, value_enum, default_value_t = Way::Auto)]
    direction: Way,
    /// Rows of each ROWS message to write out.
    #[arg(long, value_name = "N", default_value_t = 10)]
    rows: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    /// Told by the first word.
    Auto,
    /// From the client.
    Requests,
    /// From the server.
    Replies,
}

pub(crate) fn run(command: &Wire) -> anyhow::Result<()> {
    match command {
        Wire::Decode(decode) => decode_capture(decode),
    }
}

fn decode_capture(decode: &Decode) -> anyhow::Result<()> {
    let mut capture = Vec::new();
    if decode.capture.as_os_str() == "-" {
        io::stdin()
            .lock()
            .read_to_end(&mut capture)
            .context("read the capture from stdin")?;
    } else {
        File::open(&decode.capture)
            .and_then(|mut file| file.read_to_end(&mut capture))
            .with_context(|| format!("read the capture {}", decode.capture.display()))?;
    }
    let direction = match decode.direction {
        Way::Auto => Direction::guess(&capture),
        Way::Requests => Direction::Requests,
        Way::Replies => Direction::Replies,
    };
    let mut out = io::stdout().lock();
    for entry in Trace::new(direction, capture.into(), decode.rows) {
        match writeln!(out, "{entry}") {
            Ok(()) => {}
            // A reader that has seen enough, `head` for one, is no error.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error).context("write the trace"),
        }
    }
    Ok(())
}
