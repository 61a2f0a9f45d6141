//! The dqlite wire protocol: bytes and rules, no sockets, no clock.
//!
//! dqlite is SQLite replicated by raft. A client speaks to the leading server over one stream; this
//! crate knows what may be said there and what the answers mean. It does no I/O: a driver moves the
//! bytes, blocking or not, and asks the [`Session`] what they are.
//!
//! ```text
//!  byte     0       1       2       3       4       5       6       7
//!       +-------+-------+-------+-------+-------+-------+-------+-------+
//!       |  words (u32, excludes header) | type  |schema |  0    |  0    |
//!       +-------+-------+-------+-------+-------+-------+-------+-------+
//!       |                     body, 8 x words bytes                     |
//!       :            fields on word borders, little-endian              :
//!       +---------------------------------------------------------------+
//! ```
//!
//! A connection begins with one word that names the version; then requests go out and replies come
//! back, strictly in order. Several requests may be under way.
//!
//! # The drive loop
//!
//! ```
//! use dqlite_proto::{Event, Limits, Params, ProtocolError, Request, Session, ValueRef};
//! # struct Server(dqlite_proto::BytesMut);
//! # impl Server {
//! #     fn send(&mut self, bytes: &[u8]) -> usize { bytes.len() }
//! #     fn receive(&mut self, into: &mut dqlite_proto::BytesMut) {
//! #         into.extend_from_slice(&self.0.split());
//! #     }
//! # }
//! # let mut answers = Vec::new();
//! # dqlite_proto::Response::Db { id: 0 }.encode(&mut answers);
//! # let columns = dqlite_proto::Columns::new(&["name"]).into();
//! # let row = vec![ValueRef::Text(b"Ada")];
//! # let frame = dqlite_proto::RowsFrame::build(columns, &[row], true);
//! # dqlite_proto::Response::Rows(frame).encode(&mut answers);
//! # let mut server = Server(answers.as_slice().into());
//!
//! let mut session = Session::new(Limits::default());
//! session.queue(&Request::open("app"))?;
//! let mut params = Params::new();
//! params.push(ValueRef::Integer(1))?;
//! let sql = "SELECT name FROM people WHERE id = ?";
//! let people = session.queue(&Request::QuerySql { sql, params: params.as_ref() })?;
//!
//! 'drive: loop {
//!     // 1. Hand over what there is to send, then say how much of it was taken.
//!     while !session.output().is_empty() {
//!         let taken = server.send(session.output());
//!         session.sent(taken);
//!     }
//!     // 2. Append what was received.
//!     server.receive(session.input());
//!     // 3. Take events until there are none; after that there may be more to send.
//!     while let Some(event) = session.event()? {
//!         match event {
//!             Event::Rows { ticket, frame, done } if ticket == people => {
//!                 let mut rows = frame.rows();
//!                 while let Some(row) = rows.next_row()? {
//!                     for value in row {
//!                         assert_eq!(value?, ValueRef::Text(b"Ada"));
//!                     }
//!                 }
//!                 if done {
//!                     break 'drive;
//!                 }
//!             }
//!             Event::Failed { failure, .. } => return Err(failure.into()),
//!             _ => {}
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! When the stream ends or a deadline passes, [`Session::lose`] tells how far each request got, and
//! [`outcome`] what that means.
//!
//! # In between
//!
//! A gateway that passes messages on follows them with a [`frame::Scanner`] without holding them,
//! asks a [`guard::Guard`] what must not pass, and keeps its own answers in order with
//! [`slots::Slots`].
//!
//! # Trust
//!
//! Nothing that the network says is believed before it has been checked: lengths against what is
//! there, sizes against [`Limits`], replies against the request that is next. Unknown result codes
//! survive; short input is never an error. Nothing here panics, whatever the bytes.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod capability;
pub mod capture;
pub mod cluster;
pub mod code;
pub mod error;
pub mod frame;
pub mod guard;
pub mod message;
pub mod name;
mod outbox;
pub mod outcome;
pub mod params;
pub mod reply;
pub mod response;
pub mod rows;
pub mod session;
pub mod slots;
pub mod sql;
pub mod suspects;
pub mod trace;
pub mod tuple;
pub mod value;
pub mod wire;

pub use bytes::{Bytes, BytesMut};

pub use capability::Capabilities;
pub use cluster::{File, Metadata, NodeInfo, Role};
pub use code::Code;
pub use error::{DecodeError, Failure, ProtocolError, Violation};
pub use frame::{Header, Limits};
pub use message::{Request, RequestKind, Response, ResponseKind};
pub use outcome::{FailureKind, Outcome, Retry};
pub use params::{Params, ParamsRef};
pub use reply::ServerClass;
pub use rows::{Columns, Row, RowCursor, RowsFrame};
pub use session::{Abandoned, Event, Progress, Session, Ticket};
pub use value::{Value, ValueRef};
