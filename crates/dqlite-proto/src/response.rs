//! Replies: decoding for clients, encoding for whoever answers.

use std::sync::Arc;

use bytes::Bytes;

use crate::cluster::{File, Metadata, NodeInfo, Role};
use crate::error::{DecodeError, Failure, ProtocolError};
use crate::frame::{FrameError, Header, Limits};
use crate::message::ResponseKind;
use crate::reply;
use crate::rows::{Columns, RowsError, RowsFrame};
use crate::wire::{self, Reader, WORD};

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants say what their fields are")]
pub enum Response {
    /// The server says no.
    Failure(Failure),
    /// Id and address of the leader; 0 and `""` when none is known or the server is no voter.
    Server { id: u64, address: String },
    /// The same after the legacy handshake.
    ServerLegacy { address: String },
    /// The answer to CLIENT. Nobody enforces the timeout.
    Welcome { heartbeat_timeout_ms: u64 },
    /// The members.
    Servers(Vec<NodeInfo>),
    /// The members, asked without their roles: ids and addresses.
    Addresses(Vec<(u64, String)>),
    /// A database is open; its id is always 0.
    Db { id: u32 },
    /// A statement is prepared: its id, how many parameters it takes, and where in the text it
    /// ended, if that was asked for and the server knows.
    Stmt {
        id: u32,
        params: u64,
        tail: Option<u64>,
    },
    /// A statement ran. The numbers are those of the *connection* at that moment; they belong to
    /// the statement only if it was of a kind that sets them.
    Result {
        last_insert_id: i64,
        rows_affected: u64,
    },
    /// One frame of a result.
    Rows(RowsFrame),
    /// Done, nothing to tell.
    Empty,
    /// The files of a database.
    Files(Vec<File>),
    /// What DESCRIBE tells.
    Metadata(Metadata),
}

/// What must be known of the request to read its reply.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The connection began with the legacy handshake.
    pub legacy: bool,
    /// CLUSTER was asked for roles.
    pub roles: bool,
    /// Columns of the earlier frames of the same result.
    pub first: Option<&'a Arc<Columns>>,
    /// Columns seen before, reused if the bytes are the same.
    pub known: Option<&'a Arc<Columns>>,
    /// What to believe at most.
    pub limits: &'a Limits,
}

impl<'a> Asked<'a> {
    /// The usual case.
    pub const fn new(limits: &'a Limits) -> Self {
        Self {
            legacy: false,
            roles: true,
            first: None,
            known: None,
            limits,
        }
    }
}

impl Response {
    /// The type number.
    pub const fn kind(&self) -> ResponseKind {
        match self {
            Self::Failure(_) => ResponseKind::FAILURE,
            Self::Server { .. } | Self::ServerLegacy { .. } => ResponseKind::SERVER,
            Self::Welcome { .. } => ResponseKind::WELCOME,
            Self::Servers(_) | Self::Addresses(_) => ResponseKind::SERVERS,
            Self::Db { .. } => ResponseKind::DB,
            Self::Stmt { .. } => ResponseKind::STMT,
            Self::Result { .. } => ResponseKind::RESULT,
            Self::Rows(_) => ResponseKind::ROWS,
            Self::Empty => ResponseKind::EMPTY,
            Self::Files(_) => ResponseKind::FILES,
            Self::Metadata(_) => ResponseKind::METADATA,
        }
    }

    /// Reads a whole reply.
    ///
    /// Surplus words behind fixed fields are ignored, so that servers may append some; the other
    /// bodies must be used up. The bytes of rows and files are shared, not copied.
    pub fn decode(header: Header, body: &Bytes, asked: &Asked<'_>) -> Result<Self, ProtocolError> {
        let kind = ResponseKind(header.kind);
        if header.schema > u8::from(kind == ResponseKind::STMT) || kind.name().is_none() {
            return Err(FrameError::Unknown {
                kind: header.kind,
                schema: header.schema,
            }
            .into());
        }
        let malformed = |error| ProtocolError::Malformed { kind, error };
        if kind == ResponseKind::ROWS {
            return match RowsFrame::decode(body, asked.first, asked.known) {
                Ok(frame) => Ok(Self::Rows(frame)),
                Err(RowsError::EmptyPart) => Err(ProtocolError::EmptyPart),
                Err(RowsError::Malformed(error)) => Err(malformed(error)),
            };
        }
        Self::decode_other(header, body, asked).map_err(malformed)
    }

    fn decode_other(header: Header, body: &Bytes, asked: &Asked<'_>) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let limits = asked.limits;
        Ok(match ResponseKind(header.kind) {
            ResponseKind::FAILURE => Self::Failure(reply::failure(body, limits.failure_text_max)?),
            ResponseKind::SERVER if asked.legacy => Self::ServerLegacy {
                address: address(&mut reader, limits)?,
            },
            ResponseKind::SERVER => Self::Server {
                id: reader.u64()?,
                address: address(&mut reader, limits)?,
            },
            ResponseKind::WELCOME => Self::Welcome {
                heartbeat_timeout_ms: reader.u64()?,
            },
            ResponseKind::SERVERS => servers(reader, asked)?,
            ResponseKind::DB => {
                let id = reader.u32()?;
                reader.u32()?;
                Self::Db { id }
            }
            ResponseKind::STMT => {
                reader.u32()?;
                let (id, params) = (reader.u32()?, reader.u64()?);
                let tail = if header.schema == 0 {
                    None
                } else {
                    Some(reader.u64()?)
                };
                Self::Stmt { id, params, tail }
            }
            ResponseKind::RESULT => Self::Result {
                last_insert_id: reader.i64()?,
                // A 32-bit counter, sign-extended by some servers.
                rows_affected: reader.u64()? & 0xffff_ffff,
            },
            ResponseKind::EMPTY => {
                reader.u64()?;
                Self::Empty
            }
            ResponseKind::FILES => files(reader, body)?,
            _ => Self::Metadata(Metadata {
                failure_domain: reader.u64()?,
                weight: reader.u64()?,
            }),
        })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let schema = u8::from(matches!(self, Self::Stmt { tail: Some(_), .. }));
        out.extend_from_slice(&[0; WORD]);
        self.encode_body(out);
        let bytes = out.len().saturating_sub(start).saturating_sub(WORD);
        let words = u32::try_from(bytes >> 3).unwrap_or(u32::MAX);
        let header = Header {
            words,
            kind: self.kind().0,
            schema,
        };
        if let Some(place) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
            *place = header.encode();
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Failure(failure) => reply::put_failure(failure, out),
            Self::Server { id, address } => {
                wire::put_u64(out, *id);
                wire::put_text(out, address.as_bytes());
            }
            Self::ServerLegacy { address } => wire::put_text(out, address.as_bytes()),
            Self::Welcome {
                heartbeat_timeout_ms,
            } => wire::put_u64(out, *heartbeat_timeout_ms),
            Self::Servers(nodes) => {
                wire::put_u64(out, nodes.len() as u64);
                for node in nodes {
                    wire::put_u64(out, node.id);
                    wire::put_text(out, node.address.as_bytes());
                    wire::put_u64(out, node.role.to_wire());
                }
            }
            Self::Addresses(nodes) => {
                wire::put_u64(out, nodes.len() as u64);
                for (id, address) in nodes {
                    wire::put_u64(out, *id);
                    wire::put_text(out, address.as_bytes());
                }
            }
            Self::Db { id } => wire::put_u64(out, u64::from(*id)),
            Self::Stmt { id, params, tail } => {
                wire::put_u32(out, 0);
                wire::put_u32(out, *id);
                wire::put_u64(out, *params);
                if let Some(tail) = tail {
                    wire::put_u64(out, *tail);
                }
            }
            Self::Result {
                last_insert_id,
                rows_affected,
            } => {
                wire::put_u64(out, last_insert_id.cast_unsigned());
                wire::put_u64(out, *rows_affected);
            }
            Self::Rows(frame) => frame.encode(out),
            Self::Empty => wire::put_u64(out, 0),
            Self::Files(files) => {
                wire::put_u64(out, files.len() as u64);
                for file in files {
                    wire::put_text(out, file.name.as_bytes());
                    wire::put_u64(out, file.content.len() as u64);
                    out.extend_from_slice(&file.content);
                }
            }
            Self::Metadata(metadata) => {
                wire::put_u64(out, metadata.failure_domain);
                wire::put_u64(out, metadata.weight);
            }
        }
    }
}

fn address(reader: &mut Reader<'_>, limits: &Limits) -> Result<String, DecodeError> {
    let text = reader.text()?;
    if text.len() > limits.address_bytes_max {
        return Err(reader.error("an address that is too long"));
    }
    match std::str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(reader.error("an address that is not text")),
    }
}

fn servers(mut reader: Reader<'_>, asked: &Asked<'_>) -> Result<Response, DecodeError> {
    let count = usize::try_from(reader.u64()?).ok().filter(|count| {
        *count <= asked.limits.servers_max && count.saturating_mul(16) <= reader.rest().len()
    });
    let Some(count) = count else {
        return Err(reader.error("more servers than there is room for"));
    };
    let (mut nodes, mut addresses) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (id, address) = (reader.u64()?, address(&mut reader, asked.limits)?);
        if asked.roles {
            let role = Role::from_wire(reader.u64()?);
            let role = role.ok_or_else(|| reader.error("an unknown role"))?;
            nodes.push(NodeInfo { id, address, role });
        } else {
            addresses.push((id, address));
        }
    }
    reader.finish()?;
    Ok(if asked.roles {
        Response::Servers(nodes)
    } else {
        Response::Addresses(addresses)
    })
}

fn files(mut reader: Reader<'_>, body: &Bytes) -> Result<Response, DecodeError> {
    let count = reader.u64()?;
    let mut files = Vec::new();
    for _ in 0..count {
        let name = String::from_utf8_lossy(reader.text()?).into_owned();
        let size = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
        let content = body.slice_ref(reader.raw(size)?);
        files.push(File { name, content });
    }
    reader.finish()?;
    Ok(Response::Files(files))
}
