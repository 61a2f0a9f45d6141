//! What may be sent, and when.

use super::{Database, Pending, Purpose, Session, State, Ticket};
use crate::error::Violation;
use crate::message::Request;
use crate::name;
use crate::wire::WORD;

impl Session {
    pub(super) fn check(&self, request: &Request<'_>) -> Result<(), Violation> {
        if self.state != State::Live {
            return Err(Violation::Lost);
        }
        match *request {
            Request::Open { name, .. } => {
                if self.database != Database::Closed {
                    return Err(Violation::AlreadyOpen);
                }
                name::check_database(name)
            }
            Request::Dump { name } => name::check_database(name),
            Request::Prepare { .. } => {
                let statements = self.statements.len().saturating_add(self.preparing);
                if statements >= self.limits.statements_max {
                    return Err(Violation::TooManyStatements(statements));
                }
                self.check_open()
            }
            Request::Exec { statement, params } | Request::Query { statement, params } => {
                let expected = self.check_statement(statement)?;
                if expected != params.len() as u64 {
                    return Err(Violation::ParameterCount {
                        expected,
                        given: params.len(),
                    });
                }
                Ok(())
            }
            Request::Finalize { statement } => self.check_statement(statement).map(|_| ()),
            Request::ExecSql { .. } | Request::QuerySql { .. } => self.check_open(),
            Request::Heartbeat { .. } => Err(Violation::Harmful("HEARTBEAT")),
            Request::Connect { .. } => Err(Violation::Harmful("CONNECT")),
            Request::Cluster { format: 2.. } | Request::Describe { format: 1.. } => {
                Err(Violation::Harmful("an unknown format"))
            }
            Request::Add { address, .. } if address.len() > self.limits.address_bytes_max => {
                let max = self.limits.address_bytes_max;
                Err(Violation::AddressTooLong {
                    bytes: address.len(),
                    max,
                })
            }
            _ => Ok(()),
        }
    }

    fn check_open(&self) -> Result<(), Violation> {
        if self.database == Database::Closed {
            Err(Violation::NotOpen)
        } else {
            Ok(())
        }
    }

    fn check_statement(&self, id: u32) -> Result<u64, Violation> {
        self.check_open()?;
        self.statement(id).ok_or(Violation::DeadStatement(id))
    }

    pub(super) fn enqueue(
        &mut self,
        request: &Request<'_>,
        schema: u8,
        purpose: Purpose,
    ) -> Result<Ticket, Violation> {
        let bytes = request.body_size(schema);
        if bytes > self.limits.request_bytes_max {
            let max = self.limits.request_bytes_max;
            return Err(Violation::RequestTooLarge { bytes, max });
        }
        let size = bytes.saturating_add(WORD);
        let in_flight = self.bytes_in_flight.saturating_add(size);
        let full = self.queue.len() >= self.limits.requests_in_flight_max
            || (in_flight > self.limits.bytes_in_flight_max && !self.queue.is_empty());
        // What ends the others cannot wait for them.
        let waits = purpose != Purpose::Unwanted && !matches!(request, Request::Interrupt);
        if full && waits {
            return Err(Violation::WindowFull);
        }
        request.encode(schema, self.outbox.buffer())?;
        self.bytes_in_flight = in_flight;
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.queue.push_back(Pending {
            ticket,
            kind: request.kind(),
            purpose,
            end: self.outbox.end(),
            size,
            roles: !matches!(request, Request::Cluster { format: 0 }),
            columns: None,
        });
        Ok(ticket)
    }
}
