//! What the fuzz targets do with their bytes.
//!
//! Each function takes any bytes and panics only if a promise of dqlite-proto is broken. The same
//! functions replay the committed corpora in the crate's own tests, on any compiler.

use std::collections::VecDeque;
use std::sync::Arc;

use dqlite_proto::frame::{Piece, Scanner};
use dqlite_proto::guard::{Guard, Policy, Rows, Verdict};
use dqlite_proto::message::Asked;
use dqlite_proto::tuple::TupleCheck;
use dqlite_proto::{
    Abandoned, Bytes, Code, Columns, Event, Failure, Header, Limits, Params, ParamsRef, Request,
    Response, RowsFrame, ServerClass, Session, Ticket, ValueRef, sql, wire,
};

/// A header and a body. What decodes must encode and decode to the same again.
pub fn decode_request(data: &[u8]) {
    let Some((header, body)) = data.split_first_chunk() else {
        return;
    };
    let header = Header::decode(*header);
    let Ok(request) = Request::decode(header, whole_words(body)) else {
        return;
    };
    let mut bytes = Vec::new();
    if request.encode(header.schema, &mut bytes).is_err() {
        return;
    }
    let (again, behind) = bytes.split_first_chunk().expect("a header");
    let again = Header::decode(*again);
    assert_eq!(again.body_bytes(), behind.len() as u64);
    let read = Request::decode(again, behind).expect("our own bytes");
    assert_same_request(&request, &read);
    if let Request::ExecSql { sql, .. } | Request::QuerySql { sql, .. } = request {
        lex(sql.as_bytes());
    }
}

/// Headers count words: there is no other body.
fn whole_words(body: &[u8]) -> &[u8] {
    body.as_chunks::<{ wire::WORD }>().0.as_flattened()
}

/// Equal up to values that are not equal to themselves.
fn assert_same_request(one: &Request<'_>, other: &Request<'_>) {
    assert_eq!(one.kind(), other.kind());
    assert_eq!(one.body_size(0), other.body_size(0));
}

fn lex(text: &[u8]) {
    let mut end = 0;
    for statement in sql::statements(text) {
        assert!(statement.start >= end);
        end = statement.end();
        assert!(end <= text.len());
        let names = statement.parameters.names.len();
        assert!(names <= statement.parameters.count as usize);
    }
    let _ = sql::is_complete(text);
}

/// A header and a body. What decodes must encode and decode to the same again.
pub fn decode_response(data: &[u8]) {
    let Some((header, body)) = data.split_first_chunk() else {
        return;
    };
    let header = Header::decode(*header);
    let body = Bytes::copy_from_slice(whole_words(body));
    let limits = Limits::default();
    for (legacy, roles) in [(false, true), (true, false)] {
        let asked = Asked {
            legacy,
            roles,
            ..Asked::new(&limits)
        };
        let Ok(response) = Response::decode(header, &body, &asked) else {
            continue;
        };
        if let Response::Rows(frame) = &response {
            walk(frame);
        }
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        let (again, behind) = bytes.split_first_chunk().expect("a header");
        let again = Header::decode(*again);
        assert_eq!(again.body_bytes(), behind.len() as u64);
        let behind = Bytes::copy_from_slice(behind);
        let read = Response::decode(again, &behind, &asked).expect("our own bytes");
        assert_eq!(read, response);
    }
}

/// Bodies of ROWS messages of one result: a length byte in words before each.
pub fn rows(data: &[u8]) {
    let mut first = None;
    let mut rest = data;
    while let Some((words, behind)) = rest.split_first() {
        let size = (usize::from(*words) * wire::WORD).min(behind.len());
        let (body, next) = behind.split_at(size);
        rest = next;
        let body = Bytes::copy_from_slice(whole_words(body));
        let Ok(frame) = RowsFrame::decode(&body, first.as_ref(), None) else {
            return;
        };
        if let Some(first) = &first {
            assert!(Arc::ptr_eq(first, frame.columns()));
        }
        walk(&frame);
        first = Some(Arc::clone(frame.columns()));
    }
}

/// Reading whole rows and reading them in part must come to the same rows.
fn walk(frame: &RowsFrame) {
    let mut values = Vec::new();
    let mut whole = frame.rows();
    let mut partial = frame.rows();
    let mut count = 0_usize;
    loop {
        let read = whole.next_into(&mut values);
        let skipped = partial
            .next_row()
            .map(|row| row.map(|row| row.take(count % 3).count()));
        match (read, skipped) {
            (Ok(true), Ok(Some(_))) => assert_eq!(values.len(), frame.columns().len()),
            // The one that reads less notices an error a row later.
            (Ok(false), Ok(None)) | (Err(_), _) => break,
            (read, skipped) => panic!("{read:?} and {skipped:?}"),
        }
        count += 1;
        assert!(count <= frame.row_bytes(), "rows without bytes");
    }
}

/// A schema byte and a tuple; then the same bytes as values to be pushed.
pub fn params(data: &[u8]) {
    let Some((schema, tuple)) = data.split_first() else {
        return;
    };
    let schema = schema & 1;
    let mut reader = wire::Reader::new(tuple);
    if let Ok(params) = ParamsRef::decode(schema, &mut reader) {
        assert_eq!(params.values().count(), params.len());
        let mut again = Params::new();
        // What arrives need not be what we would send: text that is not UTF-8.
        if params
            .values()
            .try_for_each(|value| again.push(value))
            .is_ok()
        {
            assert_eq!(again.as_ref().len(), params.len());
        }
    }
    follow(schema, whole_words(tuple));
    let mut pushed = Params::new();
    for piece in tuple.chunks(9) {
        let (kind, bytes) = piece.split_first().expect("chunks are not empty");
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        let number = i64::from_le_bytes(word);
        let value = match kind % 6 {
            0 => ValueRef::Integer(number),
            1 => ValueRef::Text(bytes),
            2 => ValueRef::Blob(bytes),
            3 => ValueRef::Null,
            4 => ValueRef::Boolean(u64::from(*kind)),
            _ => ValueRef::Iso8601(bytes),
        };
        let before = pushed.len();
        let taken = pushed.push(value).is_ok();
        assert_eq!(pushed.len(), before + usize::from(taken));
    }
    let mut bytes = Vec::new();
    let request = Request::ExecSql {
        sql: "x",
        params: pushed.as_ref(),
    };
    if request.encode(schema, &mut bytes).is_ok() {
        let (header, body) = bytes.split_first_chunk().expect("a header");
        let read = Request::decode(Header::decode(*header), body).expect("our own bytes");
        assert_eq!(read, request);
    }
}

/// Following a tuple in pieces must come to the same verdict as decoding it as a whole.
fn follow(schema: u8, tuple: &[u8]) {
    let whole = ParamsRef::decode(schema, &mut wire::Reader::new(tuple));
    for step in [1, 8, 29] {
        let mut check = TupleCheck::new(schema, tuple.len() as u64);
        let followed = tuple.chunks(step).try_for_each(|piece| check.feed(piece));
        assert_eq!(
            followed.and_then(|()| check.finish()).is_ok(),
            whole.is_ok()
        );
    }
}

/// Requests and replies at a guard: a byte that says which, a length in words, then the message.
pub fn guard(data: &[u8]) {
    let mut guard = Guard::new(Policy {
        sql_bytes_max: 100,
        ..Policy::default()
    });
    let mut rest = data;
    while let Some(([operation, words], behind)) = rest.split_first_chunk() {
        let size = (usize::from(words % 32) * wire::WORD).min(behind.len());
        let (message, next) = behind.split_at(size);
        rest = next;
        let Some((header, body)) = message.split_first_chunk() else {
            continue;
        };
        let mut header = Header::decode(*header);
        if operation & 0x80 != 0 {
            header.words = u32::try_from(body.len() / wire::WORD).expect("small");
        }
        let body = whole_words(body);
        if operation & 1 == 0 {
            judge(&mut guard, header, body);
        } else if header.kind == 7 {
            let before = guard.slots().len();
            let words = [0, dqlite_proto::rows::DONE, dqlite_proto::rows::PART, 1];
            let last = words[usize::from(operation >> 4) % words.len()];
            let verdict = guard.rows(last, operation & 2 != 0);
            let ended = usize::from(verdict == Rows::Done);
            assert_eq!(guard.slots().len(), before - ended);
        } else {
            let before = guard.slots().len();
            let _ = guard.reply(header, body);
            assert_eq!(guard.slots().len(), before.saturating_sub(1));
        }
    }
}

/// More of a message never turns a verdict around, and what passes is well-formed.
fn judge(guard: &mut Guard, header: Header, body: &[u8]) {
    let before = guard.slots().len();
    let verdict = guard.request(header, body);
    let booked = usize::from(matches!(verdict, Verdict::Pass { .. }));
    assert_eq!(guard.slots().len(), before + booked);
    let whole = body.len() as u64 == header.body_bytes();
    match verdict {
        Verdict::More => assert!((body.len() as u64) < header.body_bytes()),
        Verdict::Pass { judged } => {
            assert!(judged <= body.len());
            // Texts that are not UTF-8 pass, and so do database ids and roles the engine refuses.
            if whole && let Ok(request) = Request::decode(header, body) {
                assert!(!matches!(
                    request,
                    Request::Heartbeat { .. } | Request::Connect { .. }
                ));
                assert!(!matches!(request, Request::Describe { format: 1.. }));
            }
        }
        _ => {}
    }
}

/// Operations on a session: one byte each, with operands behind some.
pub fn session_ops(data: &[u8]) {
    let limits = Limits {
        requests_in_flight_max: 20,
        bytes_in_flight_max: 2000,
        statements_max: 4,
        drain_bytes_max: 1000,
        reply_bytes_max: 4096,
        ..Limits::default()
    };
    let mut play = Play {
        session: Session::new(limits),
        open: VecDeque::new(),
        scanner: Scanner::requests(1 << 20),
        bytes: data,
    };
    while let Some(operation) = play.byte() {
        play.step(operation);
    }
    play.end();
}

/// A session, what it owes, and the operations that are left.
struct Play<'a> {
    session: Session,
    /// Requests that must still be answered, in order.
    open: VecDeque<Ticket>,
    scanner: Scanner,
    bytes: &'a [u8],
}

impl Play<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*byte)
    }

    fn operand(&mut self) -> u32 {
        u32::from(self.byte().unwrap_or_default())
    }

    fn step(&mut self, operation: u8) {
        match operation % 8 {
            0 | 1 => self.ask(),
            2 => {
                let some = self.operand() as usize * 4;
                self.send(some);
            }
            3 | 4 => {
                let mut bytes = Vec::new();
                self.answer().encode(&mut bytes);
                self.session.input().extend_from_slice(&bytes);
                self.listen();
            }
            5 => {
                let some = (self.operand() as usize % 24).min(self.bytes.len());
                let (raw, rest) = self.bytes.split_at(some);
                self.bytes = rest;
                self.session.input().extend_from_slice(raw);
                self.listen();
            }
            6 => self.abandon(),
            _ => match self.operand() % 4 {
                0 => drop(self.session.probe()),
                1 => self.session.assume(ServerClass::D),
                _ => self.listen(),
            },
        }
        if self.session.is_lost() {
            assert!(!self.session.is_open());
        }
    }

    fn ask(&mut self) {
        let statement = self.operand() % 4;
        let mut params = Params::new();
        for _ in 0..statement % 3 {
            params.push(ValueRef::Null).expect("NULL can be sent");
        }
        let params = params.as_ref();
        let request = match self.operand() % 14 {
            0 => Request::Leader,
            1 => Request::open("app"),
            2 => Request::Prepare { sql: "SELECT 1" },
            3 => Request::Exec { statement, params },
            4 => Request::Query { statement, params },
            5 => Request::Finalize { statement },
            6 => Request::ExecSql { sql: "x", params },
            7 => Request::QuerySql { sql: "y", params },
            8 => Request::Interrupt,
            9 => Request::cluster(),
            10 => Request::Cluster { format: 0 },
            11 => Request::Dump { name: "app" },
            12 => Request::describe(),
            _ => Request::Describe { format: 1 },
        };
        let alive = self.session.statement(statement);
        let before = self.session.pending();
        match self.session.queue(&request) {
            Ok(ticket) => {
                self.open.push_back(ticket);
                assert_eq!(self.session.pending(), before + 1);
                match request {
                    Request::Exec { .. } | Request::Query { .. } => {
                        assert_eq!(alive, Some(params.len() as u64));
                    }
                    Request::Finalize { .. } => {
                        assert!(alive.is_some());
                        assert_eq!(self.session.statement(statement), None);
                    }
                    Request::Describe { format } => assert_eq!(format, 0),
                    _ => {}
                }
            }
            Err(_) => assert_eq!(self.session.pending(), before),
        }
    }

    fn answer(&mut self) -> Response {
        let number = self.operand();
        let columns = Arc::new(Columns::new(&["a", "b"]));
        let row = vec![ValueRef::Integer(1), ValueRef::Text(b"x")];
        match self.operand() % 13 {
            0 => Response::Db { id: 0 },
            1 => Response::Stmt {
                id: number % 4,
                params: u64::from(number % 3),
                tail: None,
            },
            2 => Response::Result {
                last_insert_id: 1,
                rows_affected: 1,
            },
            3 => Response::Rows(RowsFrame::build(columns, &[row], false)),
            4 => Response::Rows(RowsFrame::build(columns, &[row], true)),
            5 => Response::Rows(RowsFrame::build(columns, &[], true)),
            6 => Response::Empty,
            7 => Response::Servers(Vec::new()),
            8 => Response::Server {
                id: 1,
                address: "a:1".to_owned(),
            },
            9 => Response::Files(Vec::new()),
            10 => Response::Metadata(dqlite_proto::Metadata::default()),
            11 => {
                let code = [0, 1, 5, 9, 10, 12, 10250, 10506][number as usize % 8];
                let message = if number > 99 {
                    "no database opened"
                } else {
                    ""
                };
                Response::Failure(Failure {
                    code: Code(code),
                    message: message.to_owned(),
                })
            }
            _ => Response::Rows(RowsFrame::build(columns, &[], false)),
        }
    }

    /// Hands over some bytes; a server must be able to follow them.
    fn send(&mut self, some: usize) {
        let some = some.min(self.session.output().len());
        let mut bytes = &self.session.output()[..some];
        while let Some(piece) = self.scanner.next(&mut bytes).expect("whole messages") {
            if let Piece::Header(header) = piece {
                assert_ne!(header.words, 0);
            }
        }
        self.session.sent(some);
    }

    fn listen(&mut self) {
        while let Ok(Some(event)) = self.session.event() {
            let (ticket, last) = match event {
                Event::Reply { ticket, .. } | Event::Failed { ticket, .. } => (ticket, true),
                Event::Rows {
                    ticket,
                    frame,
                    done,
                } => {
                    walk(&frame);
                    (ticket, done)
                }
            };
            assert_eq!(self.open.front(), Some(&ticket), "replies come in order");
            if last {
                self.open.pop_front();
            }
        }
    }

    fn abandon(&mut self) {
        let at = self.operand() as usize;
        let Some(ticket) = self.open.get(at % self.open.len().max(1)).copied() else {
            return;
        };
        let before = self.session.pending();
        match self.session.abandon(ticket) {
            Abandoned::NotSent => assert_eq!(self.session.pending(), before - 1),
            Abandoned::Draining => assert_eq!(self.session.pending(), before),
            Abandoned::Cut => {
                assert_eq!(self.session.pending(), before - 1);
                assert!(self.session.is_cut() && self.session.output().is_empty());
            }
            Abandoned::Gone => panic!("it was outstanding"),
        }
        self.open.retain(|open| *open != ticket);
        assert_eq!(self.session.abandon(ticket), Abandoned::Gone);
    }

    /// In the end every request was answered, abandoned, or is told to be lost.
    fn end(mut self) {
        let all = self.session.output().len();
        self.send(all);
        assert!(self.scanner.is_between_messages() || all == 0);
        let lost: Vec<_> = self
            .session
            .lose()
            .into_iter()
            .map(|(ticket, _)| ticket)
            .collect();
        assert_eq!(lost, Vec::from(self.open));
        assert!(self.session.is_lost());
    }
}
