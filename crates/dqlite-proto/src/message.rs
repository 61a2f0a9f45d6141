//! The table of messages: every request and every type of reply, with its number and its fields.
//!
//! Requests are made of a few kinds of fields that all follow each other on word borders, so the
//! table below is all there is to encode and decode them. Replies are in [`response`].
//!
//! [`response`]: crate::response

use std::fmt;

use crate::cluster::Role;
use crate::error::{DecodeError, Violation};
use crate::frame::{FrameError, Header, Limits};
use crate::params::{PARAMS_V0_MAX, ParamsRef};
use crate::reply::ServerClass;
use crate::wire::{self, Reader, WORD};

pub use crate::response::{Asked, Response};

macro_rules! kinds {
    ($(#[$doc:meta])* $type:ident: $($name:ident = $number:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $type(pub u8);

        impl $type {
            $(#[doc = concat!("`", stringify!($name), "`, type ", $number, ".")]
            pub const $name: Self = Self($number);)*

            /// The name in the protocol; `None` for numbers without a meaning.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "type {}", self.0),
                }
            }
        }
    };
}

macro_rules! requests {
    ($(
        $(#[$doc:meta])*
        $number:literal $kind:ident $variant:ident $([$lead:ident])?
        $({ $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })?
    )* also $(
        $(#[$also_doc:meta])*
        $also_kind:ident $also_variant:ident if words == $also_words:literal
        { $($(#[$also_field_doc:meta])* $also_field:ident: $also_type:ty,)* }
    )*) => {
        kinds! {
            /// The type number of a request.
            RequestKind: $($kind = $number,)*
        }

        /// A request: what a client encodes, and what the other side decodes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Request<'a> {
            $($(#[$doc])* $variant $({ $($(#[$field_doc])* $field: $type,)* })?,)*
            $($(#[$also_doc])* $also_variant {
                $($(#[$also_field_doc])* $also_field: $also_type,)*
            },)*
        }

        impl<'a> Request<'a> {
            /// The type number.
            pub const fn kind(&self) -> RequestKind {
                match self {
                    $(Self::$variant { .. } => RequestKind::$kind,)*
                    $(Self::$also_variant { .. } => RequestKind::$also_kind,)*
                }
            }

            fn put_body(&self, schema: u8, out: &mut Vec<u8>) -> Result<(), Violation> {
                match self {
                    $(Self::$variant $({ $($field,)* })? => {
                        $($lead.put(schema, out)?;)?
                        $($($field.put(schema, out)?;)*)?
                    })*
                    $(Self::$also_variant { $($also_field,)* } => {
                        $($also_field.put(schema, out)?;)*
                    })*
                }
                Ok(())
            }

            fn take_body(
                header: Header,
                reader: &mut Reader<'a>,
            ) -> Result<Option<Self>, DecodeError> {
                let schema = header.schema;
                Ok(Some(match RequestKind(header.kind) {
                    $(RequestKind::$also_kind if header.words == $also_words => {
                        Self::$also_variant { $($also_field: Field::take(schema, reader)?,)* }
                    })*
                    $(RequestKind::$kind => {
                        $($lead::take(schema, reader)?;)?
                        Self::$variant $({ $($field: Field::take(schema, reader)?,)* })?
                    })*
                    _ => return Ok(None),
                }))
            }

            /// Size of the body in bytes.
            pub fn body_size(&self, schema: u8) -> usize {
                match self {
                    $(Self::$variant $({ $($field,)* })? => 0_usize
                        $(.saturating_add($lead.size(schema)))?
                        $($(.saturating_add($field.size(schema)))*)?,)*
                    $(Self::$also_variant { $($also_field,)* } => 0_usize
                        $(.saturating_add($also_field.size(schema)))*,)*
                }
            }
        }
    };
}

requests! {
    /// Who leads?
    0 LEADER Leader [Unused]
    /// Tells a number for the client; of no effect.
    1 CLIENT Client { /** Any number. */ id: u64, }
    /// Implemented nowhere; never send it.
    2 HEARTBEAT Heartbeat { /** Any number. */ timestamp: u64, }
    /// Opens the one database of a connection, creating it if needed; see [`Request::open`].
    3 OPEN Open {
        /// Name of the database.
        name: &'a str,
        /// Ignored by servers.
        flags: u64,
        /// Ignored by servers.
        vfs: &'a str,
    }
    /// Prepares a statement.
    4 PREPARE Prepare [Database] { /** One statement. */ sql: &'a str, }
    /// Runs a prepared statement that yields no rows.
    5 EXEC Exec [DatabaseHalf] {
        /// Its id.
        statement: u32,
        /// As many as it needs.
        params: ParamsRef<'a>,
    }
    /// Runs a prepared statement that yields rows.
    6 QUERY Query [DatabaseHalf] {
        /// Its id.
        statement: u32,
        /// As many as it needs.
        params: ParamsRef<'a>,
    }
    /// Forgets a prepared statement. A dead id may kill the server.
    7 FINALIZE Finalize [DatabaseHalf] { /** Its id. */ statement: u32, }
    /// Runs statements that yield no rows.
    8 EXEC_SQL ExecSql [Database] {
        /// One statement, or several, which are not atomic.
        sql: &'a str,
        /// As many as they need.
        params: ParamsRef<'a>,
    }
    /// Runs one statement that yields rows.
    9 QUERY_SQL QuerySql [Database] {
        /// One statement.
        sql: &'a str,
        /// As many as it needs.
        params: ParamsRef<'a>,
    }
    /// Ends the running statement; stock servers only answer it, after the statement has ended.
    10 INTERRUPT Interrupt [Database]
    /// Turns the connection into a stream between nodes; never from a client.
    11 CONNECT Connect {
        /// Raft id of the node that dials.
        id: u64,
        /// Its address.
        address: &'a str,
    }
    /// Adds a node, as a spare.
    12 ADD Add {
        /// Its raft id.
        id: u64,
        /// Its address.
        address: &'a str,
    }
    /// Gives a node a role. A new voter must catch up first, which can take a minute.
    13 ASSIGN Assign {
        /// Its raft id.
        id: u64,
        /// The role.
        role: Role,
    }
    /// Removes a node.
    14 REMOVE Remove { /** Its raft id. */ id: u64, }
    /// Asks for the files of a database.
    15 DUMP Dump { /** Name of the database. */ name: &'a str, }
    /// Asks for the members; see [`Request::cluster`].
    16 CLUSTER Cluster { /** 0: ids and addresses; 1: and roles. */ format: u64, }
    /// Hands leadership over.
    17 TRANSFER Transfer { /** To whom; 0 lets the leader choose. */ id: u64, }
    /// Asks for metadata of the node; see [`Request::describe`].
    18 DESCRIBE Describe { /** 0. Any other number kills the server. */ format: u64, }
    /// Sets the weight of the node until it restarts.
    19 WEIGHT Weight { /** The larger, the less welcome as a voter. */ weight: u64, }
    also
    /// The short form of ASSIGN that means voter.
    ASSIGN Promote if words == 1 { /** Raft id of the node. */ id: u64, }
}

kinds! {
    /// The type number of a reply.
    ResponseKind:
    FAILURE = 0,
    SERVER = 1,
    WELCOME = 2,
    SERVERS = 3,
    DB = 4,
    STMT = 5,
    RESULT = 6,
    ROWS = 7,
    EMPTY = 8,
    FILES = 9,
    METADATA = 10,
}

impl<'a> Request<'a> {
    /// OPEN as it should be sent.
    pub const fn open(name: &'a str) -> Self {
        Self::Open {
            name,
            flags: 0,
            vfs: "",
        }
    }

    /// CLUSTER with roles.
    pub const fn cluster() -> Self {
        Self::Cluster { format: 1 }
    }

    /// DESCRIBE in the only format there is.
    pub const fn describe() -> Self {
        Self::Describe { format: 0 }
    }

    /// The schema to send it with: the simplest that does the job on that class of server.
    pub const fn schema(&self, class: ServerClass) -> Result<u8, Violation> {
        let params = match self {
            Self::Prepare { .. } => return Ok(if class.has_tail() { 1 } else { 0 }),
            Self::Exec { params, .. }
            | Self::Query { params, .. }
            | Self::ExecSql { params, .. }
            | Self::QuerySql { params, .. } => params.len(),
            _ => return Ok(0),
        };
        if params <= PARAMS_V0_MAX {
            return Ok(0);
        }
        if class.has_large_params() {
            return Ok(1);
        }
        Err(Violation::TooManyParameters {
            count: params,
            max: PARAMS_V0_MAX,
        })
    }

    /// Appends the whole message. On an error `out` is as before.
    pub fn encode(&self, schema: u8, out: &mut Vec<u8>) -> Result<(), Violation> {
        let bytes = self.body_size(schema);
        let words = u32::try_from(bytes >> 3)
            .ok()
            .filter(|_| bytes <= Limits::REQUEST_BYTES_CEILING)
            .ok_or(Violation::RequestTooLarge {
                bytes,
                max: Limits::REQUEST_BYTES_CEILING,
            })?;
        let start = out.len();
        out.reserve(bytes.saturating_add(WORD));
        out.extend_from_slice(
            &Header {
                words,
                kind: self.kind().0,
                schema,
            }
            .encode(),
        );
        let result = self.put_body(schema, out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// Reads the body of a request. Surplus words behind fixed fields are ignored, as all servers
    /// do; a parameter tuple must end with the body.
    pub fn decode(header: Header, body: &'a [u8]) -> Result<Self, RequestError> {
        let mut reader = Reader::new(body);
        match Self::take_body(header, &mut reader)? {
            Some(request) => Ok(request),
            None => Err(FrameError::Unknown {
                kind: header.kind,
                schema: header.schema,
            }
            .into()),
        }
    }
}

/// Why a request cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Its type does not exist.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Its body is malformed.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

/// A field of a request on the wire.
trait Field<'a>: Sized {
    fn put(&self, schema: u8, out: &mut Vec<u8>) -> Result<(), Violation>;
    fn take(schema: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
    fn size(&self, _schema: u8) -> usize {
        WORD
    }
}

impl Field<'_> for u64 {
    fn put(&self, _: u8, out: &mut Vec<u8>) -> Result<(), Violation> {
        wire::put_u64(out, *self);
        Ok(())
    }

    fn take(_: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u64()
    }
}

/// A statement id, behind its half word of database id.
impl Field<'_> for u32 {
    fn put(&self, _: u8, out: &mut Vec<u8>) -> Result<(), Violation> {
        wire::put_u32(out, *self);
        Ok(())
    }

    fn take(_: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u32()
    }

    fn size(&self, _: u8) -> usize {
        WORD / 2
    }
}

impl<'a> Field<'a> for &'a str {
    fn put(&self, _: u8, out: &mut Vec<u8>) -> Result<(), Violation> {
        if self.as_bytes().contains(&0) {
            return Err(Violation::Nul);
        }
        wire::put_text(out, self.as_bytes());
        Ok(())
    }

    fn take(_: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        std::str::from_utf8(reader.text()?).map_err(|_| reader.error("a text that is not UTF-8"))
    }

    fn size(&self, _: u8) -> usize {
        wire::text_size(self.len())
    }
}

impl<'a> Field<'a> for ParamsRef<'a> {
    fn put(&self, schema: u8, out: &mut Vec<u8>) -> Result<(), Violation> {
        self.encode(schema, out)
    }

    fn take(schema: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Self::decode(schema, reader)
    }

    fn size(&self, schema: u8) -> usize {
        Self::size(self, schema)
    }
}

impl Field<'_> for Role {
    fn put(&self, _: u8, out: &mut Vec<u8>) -> Result<(), Violation> {
        wire::put_u64(out, self.to_wire());
        Ok(())
    }

    fn take(_: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_wire(reader.u64()?).ok_or_else(|| reader.error("an unknown role"))
    }
}

/// A word that says nothing.
struct Unused;

impl Field<'_> for Unused {
    fn put(&self, _: u8, out: &mut Vec<u8>) -> Result<(), Violation> {
        wire::put_u64(out, 0);
        Ok(())
    }

    fn take(_: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u64().map(|_| Self)
    }
}

/// The database id, always 0.
struct Database;

impl Field<'_> for Database {
    fn put(&self, _: u8, out: &mut Vec<u8>) -> Result<(), Violation> {
        wire::put_u64(out, 0);
        Ok(())
    }

    fn take(_: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u64()? {
            0 => Ok(Self),
            _ => Err(reader.error("an unknown database id")),
        }
    }
}

/// The database id in half a word.
struct DatabaseHalf;

impl Field<'_> for DatabaseHalf {
    fn put(&self, _: u8, out: &mut Vec<u8>) -> Result<(), Violation> {
        wire::put_u32(out, 0);
        Ok(())
    }

    fn take(_: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u32()? {
            0 => Ok(Self),
            _ => Err(reader.error("an unknown database id")),
        }
    }

    fn size(&self, _: u8) -> usize {
        WORD / 2
    }
}
