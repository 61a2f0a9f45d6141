//! The dqlite wire protocol: bytes and rules, no sockets, no clock.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod cluster;
pub mod code;
pub mod error;
pub mod frame;
pub mod message;
pub mod name;
mod outbox;
pub mod outcome;
pub mod params;
pub mod reply;
pub mod response;
pub mod rows;
pub mod session;
pub mod sql;
pub mod value;
pub mod wire;

pub use bytes::{Bytes, BytesMut};

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
