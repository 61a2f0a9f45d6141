//! What replies mean to the session.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::{Database, Event, Pending, Purpose, Session, State};
use crate::capability::Capabilities;
use crate::code::Code;
use crate::error::{DecodeError, Failure, ProtocolError};
use crate::frame::{FrameError, Header};
use crate::message::{Asked, Request, RequestKind, Response, ResponseKind};
use crate::outcome::FailureKind;
use crate::reply::{self, ServerClass};
use crate::wire::WORD;

impl Session {
    pub(super) fn next_event(&mut self) -> Result<Option<Event>, ProtocolError> {
        while let Some((header, body)) = self.frame()? {
            if let Some(event) = self.reply(header, &body)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn frame(&mut self) -> Result<Option<(Header, Bytes)>, ProtocolError> {
        let Some(word) = self.inbox.first_chunk::<WORD>() else {
            return Ok(None);
        };
        let header = Header::decode(*word);
        self.check_header(header)?;
        let max = match ResponseKind(header.kind) {
            ResponseKind::FILES => self.limits.dump_bytes_max,
            _ => self.limits.reply_bytes_max,
        };
        header.check(max as u64)?;
        let body = usize::try_from(header.body_bytes()).unwrap_or(usize::MAX);
        let whole = body.saturating_add(WORD);
        if self.inbox.len() < whole {
            return Ok(None);
        }
        let mut frame = self.inbox.split_to(whole).freeze();
        frame.advance(WORD);
        Ok(Some((header, frame)))
    }

    /// Refuses a reply before its body has come, let alone been stored.
    fn check_header(&self, header: Header) -> Result<(), ProtocolError> {
        let kind = ResponseKind(header.kind);
        if kind.name().is_none() {
            let unknown = FrameError::Unknown {
                kind: header.kind,
                schema: header.schema,
            };
            return Err(unknown.into());
        }
        let Some(head) = self.queue.front() else {
            return Err(ProtocolError::Unsolicited(kind));
        };
        if !reply::answers(head.kind, kind) {
            return Err(ProtocolError::Unexpected {
                request: head.kind,
                reply: kind,
            });
        }
        Ok(())
    }

    fn reply(&mut self, header: Header, body: &Bytes) -> Result<Option<Event>, ProtocolError> {
        let kind = ResponseKind(header.kind);
        let Some(head) = self.queue.front_mut() else {
            return Err(ProtocolError::Unsolicited(kind));
        };
        let asked = Asked {
            legacy: false,
            roles: head.roles,
            first: head.columns.as_ref(),
            known: self.columns.as_ref(),
            limits: &self.limits,
        };
        let response = Response::decode(header, body, &asked)?;
        if let Response::Stmt { id, .. } = response
            && self.statements.contains_key(&id)
        {
            let what = "a statement id that is in use";
            let error = DecodeError { what, at: 4 };
            return Err(ProtocolError::Malformed { kind, error });
        }
        if head.purpose == Purpose::Unwanted {
            self.drained = self.drained.saturating_add(header.body_bytes());
            if self.drained > self.limits.drain_bytes_max {
                return Err(ProtocolError::DrainLimit(self.drained));
            }
        } else {
            self.drained = 0;
        }
        if let Response::Rows(frame) = response {
            let (ticket, done) = (head.ticket, frame.is_done());
            let wanted = head.purpose == Purpose::Wanted;
            head.columns = Some(Arc::clone(frame.columns()));
            self.columns = Some(Arc::clone(frame.columns()));
            if done {
                self.settle();
            }
            return Ok(wanted.then_some(Event::Rows {
                ticket,
                frame,
                done,
            }));
        }
        Ok(self.complete(response))
    }

    /// Takes the request whose reply is complete from the queue.
    fn settle(&mut self) -> Option<Pending> {
        let head = self.queue.pop_front()?;
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(head.size);
        if head.kind == RequestKind::PREPARE && !head.purpose.is_probe() {
            self.preparing = self.preparing.saturating_sub(1);
        }
        Some(head)
    }

    fn complete(&mut self, response: Response) -> Option<Event> {
        let head = self.settle()?;
        let ticket = head.ticket;
        let ended = (head.kind == RequestKind::QUERY || head.kind == RequestKind::QUERY_SQL)
            && response == Response::Empty;
        let response = if ended {
            Response::Failure(interrupted())
        } else {
            response
        };
        match head.purpose {
            Purpose::ProbePrepare => self.first_probe(&response),
            Purpose::ProbeQuery(first) => {
                self.class = Some(ServerClass::of_probes(first, probe_code(&response)));
            }
            Purpose::Wanted | Purpose::Unwanted => self.follow(&head, &response),
        }
        if head.purpose != Purpose::Wanted {
            return None;
        }
        Some(match response {
            Response::Failure(failure) => Event::Failed { ticket, failure },
            response => Event::Reply { ticket, response },
        })
    }

    fn first_probe(&mut self, response: &Response) {
        let code = probe_code(response);
        let second = self
            .queue
            .iter_mut()
            .find(|p| p.purpose == Purpose::ProbeQuery(Code::OK));
        if let Some(second) = second {
            second.purpose = Purpose::ProbeQuery(code);
        }
    }

    /// What a reply changes in the session.
    fn follow(&mut self, head: &Pending, response: &Response) {
        match *response {
            Response::Db { .. } => self.database = Database::Open,
            Response::Welcome {
                heartbeat_timeout_ms,
            } => self.capabilities = Capabilities::from_welcome(heartbeat_timeout_ms),
            Response::Stmt { id, params, .. } => {
                self.statements.insert(id, params);
                if head.purpose == Purpose::Unwanted && self.state == State::Live {
                    self.statements.remove(&id);
                    let finalize = Request::Finalize { statement: id };
                    // Cannot fail: it is small, and the window is not asked.
                    let _ = self.enqueue(&finalize, 0, Purpose::Unwanted);
                }
            }
            Response::Failure(ref failure) => self.follow_failure(head, failure),
            _ => {}
        }
    }

    fn follow_failure(&mut self, head: &Pending, failure: &Failure) {
        let kind = failure.kind();
        let with_database = self.database != Database::Closed;
        if head.kind == RequestKind::OPEN && kind != FailureKind::AlreadyOpen {
            self.database = Database::Closed;
        }
        let over = match kind {
            FailureKind::NotLeader | FailureKind::LeadershipLost | FailureKind::NoStatement => true,
            // An INTERRUPT of ours ends one statement, anything else ends the session.
            FailureKind::Interrupted => !self
                .queue
                .iter()
                .any(|later| later.kind == RequestKind::INTERRUPT),
            _ => false,
        };
        if over && with_database {
            if self.state == State::Live {
                self.state = State::Lost;
            }
            self.statements.clear();
        }
    }
}

/// How a class D server that is closing answers a query: EMPTY, which stands for this.
fn interrupted() -> Failure {
    Failure {
        code: Code::INTERRUPT,
        message: "interrupted".to_owned(),
    }
}

const fn probe_code(response: &Response) -> Code {
    match response {
        Response::Failure(failure) => failure.code,
        _ => Code::OK,
    }
}
