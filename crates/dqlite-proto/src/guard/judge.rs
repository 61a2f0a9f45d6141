//! Which requests may pass.

use super::{Database, Guard, Traits, Verdict, denied, error, parse};
use crate::code::Code;
use crate::error::{DecodeError, Failure, Violation};
use crate::frame::Header;
use crate::message::RequestKind;
use crate::name;
use crate::outcome;
use crate::params::ParamsRef;
use crate::sql::{self, Statement};
use crate::wire::{Reader, WORD, zero_bytes};

impl Guard {
    pub(super) fn judge(
        &self,
        header: Header,
        head: &[u8],
        whole: bool,
        first: bool,
        traits: &mut Traits,
    ) -> Result<Verdict, DecodeError> {
        let mut reader = Reader::new(head);
        match RequestKind(header.kind) {
            RequestKind::OPEN => self.open(&mut reader),
            RequestKind::DUMP => self.dump(&mut reader),
            RequestKind::PREPARE | RequestKind::EXEC_SQL | RequestKind::QUERY_SQL => {
                self.text(header, &mut reader, whole, traits)
            }
            RequestKind::EXEC | RequestKind::QUERY | RequestKind::FINALIZE => {
                self.statement(header, &mut reader, whole)
            }
            RequestKind::CONNECT if first => {
                let id = reader.u64()?;
                let address = String::from_utf8_lossy(reader.text()?).into_owned();
                Ok(Verdict::Connect { id, address })
            }
            RequestKind::CONNECT => Ok(Verdict::Close(parse("unexpected CONNECT"))),
            kind if kind == RequestKind::HEARTBEAT || kind.name().is_none() => {
                Ok(Verdict::Refuse(parse("unrecognized request type")))
            }
            kind => self.fixed(kind, header, reader),
        }
    }

    fn open(&self, reader: &mut Reader<'_>) -> Result<Verdict, DecodeError> {
        let name = reader.text()?;
        reader.u64()?;
        reader.text()?;
        if self.database != Database::Closed {
            return Ok(Verdict::Refuse(Failure {
                code: Code::BUSY,
                message: outcome::ALREADY_OPEN.to_owned(),
            }));
        }
        Ok(match refused_name(name) {
            Some(why) => Verdict::Refuse(error(&format!("refused: invalid database name, {why}"))),
            None => pass(reader),
        })
    }

    fn dump(&self, reader: &mut Reader<'_>) -> Result<Verdict, DecodeError> {
        let name = reader.text()?;
        if !self.policy.membership {
            return Ok(Verdict::Refuse(denied()));
        }
        Ok(match refused_name(name) {
            Some(_) => Verdict::Refuse(Failure {
                code: Code::DQLITE_NOTFOUND,
                message: "database does not exists".to_owned(),
            }),
            None => pass(reader),
        })
    }

    /// Requests of fixed layout.
    fn fixed(
        &self,
        kind: RequestKind,
        header: Header,
        mut reader: Reader<'_>,
    ) -> Result<Verdict, DecodeError> {
        let word = reader.u64()?;
        let changes = matches!(
            kind,
            RequestKind::ADD | RequestKind::ASSIGN | RequestKind::REMOVE | RequestKind::TRANSFER
        );
        if (changes || kind == RequestKind::WEIGHT) && !self.policy.membership {
            return Ok(Verdict::Refuse(denied()));
        }
        match kind {
            RequestKind::DESCRIBE if word > 0 => {
                return Ok(Verdict::Refuse(parse("unrecognized format version")));
            }
            RequestKind::CLUSTER if word > 1 => {
                return Ok(Verdict::Refuse(parse("unrecognized cluster format")));
            }
            RequestKind::ADD => {
                let address = reader.text()?;
                if word == 0 {
                    return Ok(Verdict::Refuse(error("server ID is not valid")));
                }
                if address.is_empty() {
                    return Ok(Verdict::Refuse(error("refused: a server needs an address")));
                }
            }
            RequestKind::ASSIGN if header.words > 1 && reader.u64()? > 2 => {
                return Ok(Verdict::Refuse(error("server role is not valid")));
            }
            _ => {}
        }
        Ok(if changes {
            Verdict::Change
        } else {
            pass(&reader)
        })
    }

    /// PREPARE, `EXEC_SQL`, `QUERY_SQL`.
    fn text(
        &self,
        header: Header,
        reader: &mut Reader<'_>,
        whole: bool,
        traits: &mut Traits,
    ) -> Result<Verdict, DecodeError> {
        reader.u64()?;
        let kind = RequestKind(header.kind);
        let too_long = || Ok(Verdict::Refuse(error("refused: the SQL text is too long")));
        let sql = match reader.text() {
            Ok(sql) if sql.len() > self.policy.sql_bytes_max => return too_long(),
            Ok(sql) => sql,
            Err(_) if !whole && reader.rest().len() > self.policy.sql_bytes_max => {
                return too_long();
            }
            Err(error) => return Err(error),
        };
        *traits = Traits::of(sql, kind == RequestKind::PREPARE && header.schema == 1);
        if kind == RequestKind::PREPARE {
            let statements = self.statements.len().saturating_add(self.preparing);
            if statements >= self.policy.statements_max {
                return Ok(Verdict::Refuse(error(
                    "refused: too many prepared statements",
                )));
            }
            return Ok(pass(reader));
        }
        if let Some(refusal) = self.refused(kind == RequestKind::QUERY_SQL, *traits) {
            return Ok(Verdict::Refuse(refusal));
        }
        Ok(tuple(header, reader, whole))
    }

    /// EXEC, QUERY, FINALIZE.
    fn statement(
        &self,
        header: Header,
        reader: &mut Reader<'_>,
        whole: bool,
    ) -> Result<Verdict, DecodeError> {
        let (db, id) = (reader.u32()?, reader.u32()?);
        if self.database == Database::Opening || self.preparing > 0 {
            return Ok(Verdict::Hold);
        }
        let kind = RequestKind(header.kind);
        // The engine answers for other databases, and while it has no statements at all.
        if db == 0 && self.database == Database::Open {
            let Some(traits) = self.statements.get(&id) else {
                return Ok(Verdict::Refuse(Failure {
                    code: Code::NOTFOUND,
                    message: outcome::NO_STATEMENT.to_owned(),
                }));
            };
            let runs = kind != RequestKind::FINALIZE;
            let refusal = self.refused(kind == RequestKind::QUERY, *traits);
            if let Some(refusal) = refusal.filter(|_| runs) {
                return Ok(Verdict::Refuse(refusal));
            }
        }
        if kind == RequestKind::FINALIZE {
            return Ok(pass(reader));
        }
        Ok(tuple(header, reader, whole))
    }

    /// Statements that an engine of this class does not survive on this path.
    fn refused(&self, query: bool, traits: Traits) -> Option<Failure> {
        let abilities = self.policy.abilities;
        let why = match (query, traits.returning, traits.optimize) {
            (false, true, _) if !abilities.exec_returning => {
                "refused: RETURNING needs a query; send it as one (or quote a column of that name)"
            }
            (true, true, _) if !self.policy.class.has_returning() => {
                "refused: this engine cannot do RETURNING (quote a column of that name)"
            }
            (true, _, true) if !abilities.query_optimize => {
                "refused: PRAGMA optimize cannot be a query; execute PRAGMA optimize=0x10002"
            }
            _ => return None,
        };
        Some(error(why))
    }
}

impl Traits {
    fn of(text: &[u8], first_only: bool) -> Self {
        let mut traits = Self {
            single: true,
            ..Self::default()
        };
        if is_plain(text) {
            return traits;
        }
        let most = if first_only { 1 } else { usize::MAX };
        for (at, statement) in sql::statements(text).take(most).enumerate() {
            traits.single = at == 0;
            traits.returning |= statement.returning;
            traits.optimize |= is_optimize(&statement);
        }
        traits
    }
}

/// Whether a look at the bytes is enough: one statement at most, without the words that matter.
fn is_plain(text: &[u8]) -> bool {
    let one = text.trim_ascii_end();
    let one = one.strip_suffix(b";").unwrap_or(one);
    let matters = |(at, byte): (usize, &u8)| match byte {
        b';' => true,
        b'g' | b'G' => one.get(..at).is_some_and(|before| {
            let word = before.last_chunk::<8>();
            word.is_some_and(|word| word.eq_ignore_ascii_case(b"RETURNIN"))
        }),
        b'z' | b'Z' => one.get(..at).is_some_and(|before| {
            let word = before.last_chunk::<6>();
            word.is_some_and(|word| word.eq_ignore_ascii_case(b"OPTIMI"))
        }),
        _ => false,
    };
    !has_rare(one) || !one.iter().enumerate().any(matters)
}

/// Whether there may be a semicolon, a G as in RETURNING or a Z as in OPTIMIZE; eight bytes at a
/// time.
fn has_rare(text: &[u8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const LETTER_CASE: u64 = 0x20 * EACH;
    let rare = |word: &[u8; WORD]| {
        let word = u64::from_le_bytes(*word) | LETTER_CASE;
        let [semicolon, g, z] = [b';', b'g', b'z'].map(|byte| u64::from(byte).wrapping_mul(EACH));
        zero_bytes(word ^ semicolon) | zero_bytes(word ^ g) | zero_bytes(word ^ z) != 0
    };
    // The last eight overlap those before them. What is shorter is left to the caller.
    let last = text.last_chunk();
    last.is_none_or(rare) || text.as_chunks().0.iter().any(rare)
}

fn is_optimize(statement: &Statement<'_>) -> bool {
    statement.pragma.is_some_and(|pragma| pragma.is("optimize"))
}

fn refused_name(name: &[u8]) -> Option<&'static str> {
    let Ok(name) = std::str::from_utf8(name) else {
        return Some("it is not UTF-8");
    };
    match name::check_database(name) {
        Err(Violation::DatabaseName(why)) => Some(why),
        _ => None,
    }
}

const fn pass(reader: &Reader<'_>) -> Verdict {
    // Surplus words behind fixed fields are the engine's to ignore.
    Verdict::Pass {
        judged: reader.position().saturating_add(reader.rest().len()),
    }
}

/// A tuple that is there as a whole is judged here, any other one while it passes. The engine
/// itself answers for schemas that do not exist.
fn tuple(header: Header, reader: &mut Reader<'_>, whole: bool) -> Verdict {
    if header.schema > 1 {
        return pass(reader);
    }
    if !whole {
        return Verdict::Pass {
            judged: reader.position(),
        };
    }
    match ParamsRef::decode(header.schema, reader) {
        Ok(_) => pass(reader),
        Err(malformed) => Verdict::Refuse(parse(malformed.what)),
    }
}
