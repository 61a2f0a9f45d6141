//! A lexer for SQL: where statements end, what kind they are, and which parameters they take.
//!
//! It knows SQLite's tokens and no grammar. It serves splitting of scripts, resolution of named
//! parameters, and the guard's question whether a write returns rows. It never decides whether a
//! text is valid: that is the server's business.

mod token;

use std::str;

pub use token::{Token, TokenKind, Tokens};

/// Splits a text into its statements. Blanks, comments and lone semicolons yield nothing.
pub fn statements<T: AsRef<[u8]> + ?Sized>(text: &T) -> Statements<'_> {
    let text = text.as_ref();
    Statements {
        text,
        tokens: Tokens::new(text),
    }
}

/// Whether a text ends with a finished statement: what a shell asks before it sends a line.
pub fn is_complete<T: AsRef<[u8]> + ?Sized>(text: &T) -> bool {
    let text = text.as_ref();
    !Tokens::new(text).any(|token| token.open)
        && statements(text)
            .last()
            .is_some_and(|statement| statement.terminated)
}

/// One statement of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Its bytes, from the first token to the end of its `;`.
    pub text: &'a [u8],
    /// Where it begins in the whole text, in bytes.
    pub start: usize,
    /// Whether a `;` ends it.
    pub terminated: bool,
    /// What it does, judged by its verb.
    pub kind: StatementKind,
    /// Whether it is a write with a RETURNING clause. A column of that name, unquoted, may be
    /// mistaken for one.
    pub returning: bool,
    /// Whether a conflict rolls the whole transaction back (`OR ROLLBACK`).
    pub or_rollback: bool,
    /// Which pragma, if it is one.
    pub pragma: Option<Pragma<'a>>,
    /// Its parameters.
    pub parameters: Parameters<'a>,
}

impl<'a> Statement<'a> {
    /// Where it ends in the whole text: the next one begins there or later.
    pub const fn end(&self) -> usize {
        self.start.saturating_add(self.text.len())
    }

    /// The text as it was given; `None` if that was not UTF-8.
    pub fn sql(&self) -> Option<&'a str> {
        str::from_utf8(self.text).ok()
    }

    /// Whether it may change anything. What is not known to be harmless may.
    pub fn may_write(&self) -> bool {
        match self.kind {
            StatementKind::Select | StatementKind::Values | StatementKind::Explain => false,
            StatementKind::Pragma => self.pragma.is_none_or(Pragma::may_write),
            _ => true,
        }
    }

    /// Whether its columns follow from its text, so that it may be kept prepared. Engines announce
    /// the columns of before a change of the schema when they run `SELECT *` for the first time
    /// after it. Says no when in doubt.
    pub fn has_fixed_columns(&self) -> bool {
        let at = |index: usize| self.text.get(index).copied();
        let mut stars = (0..self.text.len()).filter(|index| at(*index) == Some(b'*'));
        !self.returns_rows()
            || stars.all(|star| {
                let before = star.checked_sub(1).and_then(at);
                before == Some(b'(') && at(star.saturating_add(1)) == Some(b')')
            })
    }

    /// Whether it answers with rows and must be sent with QUERY.
    pub const fn returns_rows(&self) -> bool {
        self.returning
            || matches!(
                self.kind,
                StatementKind::Select
                    | StatementKind::Values
                    | StatementKind::Explain
                    | StatementKind::Pragma
            )
    }
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "SQL's own words")]
pub enum StatementKind {
    Alter,
    Analyze,
    Attach,
    Begin,
    Commit,
    Create,
    Delete,
    Detach,
    Drop,
    Explain,
    Insert,
    Pragma,
    Reindex,
    Release,
    Replace,
    /// ROLLBACK of the whole transaction.
    Rollback,
    /// ROLLBACK TO a savepoint.
    RollbackTo,
    Savepoint,
    Select,
    Update,
    Vacuum,
    Values,
    /// No verb of SQLite.
    Other,
}

impl StatementKind {
    const VERBS: [(&'static str, Self); 22] = [
        ("SELECT", Self::Select),
        ("INSERT", Self::Insert),
        ("UPDATE", Self::Update),
        ("DELETE", Self::Delete),
        ("BEGIN", Self::Begin),
        ("COMMIT", Self::Commit),
        ("ROLLBACK", Self::Rollback),
        ("REPLACE", Self::Replace),
        ("PRAGMA", Self::Pragma),
        ("CREATE", Self::Create),
        ("DROP", Self::Drop),
        ("ALTER", Self::Alter),
        ("SAVEPOINT", Self::Savepoint),
        ("RELEASE", Self::Release),
        ("VALUES", Self::Values),
        ("END", Self::Commit),
        ("EXPLAIN", Self::Explain),
        ("ANALYZE", Self::Analyze),
        ("ATTACH", Self::Attach),
        ("DETACH", Self::Detach),
        ("REINDEX", Self::Reindex),
        ("VACUUM", Self::Vacuum),
    ];

    fn of(verb: &Token<'_>) -> Self {
        let found = Self::VERBS.iter().find(|(word, _)| verb.is(word));
        found.map_or(Self::Other, |(_, kind)| *kind)
    }

    /// Whether the number of changed rows belongs to it.
    pub const fn counts_rows(self) -> bool {
        matches!(
            self,
            Self::Insert | Self::Replace | Self::Update | Self::Delete
        )
    }

    /// Whether the last row id belongs to it.
    pub const fn sets_last_insert_id(self) -> bool {
        matches!(self, Self::Insert | Self::Replace)
    }

    /// Whether it begins or ends (part of) a transaction: nothing that depends on it may be sent
    /// before its answer has come.
    pub const fn controls_transaction(self) -> bool {
        matches!(
            self,
            Self::Begin
                | Self::Commit
                | Self::Rollback
                | Self::RollbackTo
                | Self::Savepoint
                | Self::Release
        )
    }
}

/// A pragma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pragma<'a> {
    /// Its name as written, without quotes.
    pub name: &'a [u8],
    /// Whether a value follows.
    pub has_value: bool,
}

impl Pragma<'_> {
    /// Whether it is that pragma; letter case does not count.
    pub fn is(self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    fn may_write(self) -> bool {
        const ACTIVE: [&str; 3] = ["optimize", "incremental_vacuum", "wal_checkpoint"];
        self.has_value || ACTIVE.iter().any(|name| self.is(name))
    }
}

/// The parameters of a statement, numbered as SQLite does.
///
/// `?` takes the next number, `?5` takes 5, a name takes the next number when it is new and its old
/// one when it is not. `:a`, `@a` and `$a` are three different names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters<'a> {
    /// The highest number: how many values the statement takes.
    pub count: u32,
    /// Names with their numbers, in the order of their first appearance; `?5` is no name.
    pub names: Vec<(&'a [u8], u32)>,
    /// Whether a `?` without a number is among them.
    pub has_positional: bool,
}

impl<'a> Parameters<'a> {
    fn add(&mut self, text: &'a [u8]) {
        let next = self.count.saturating_add(1);
        match text {
            b"?" => {
                self.has_positional = true;
                self.count = next;
            }
            [b'?', digits @ ..] => {
                let number = str::from_utf8(digits)
                    .ok()
                    .and_then(|digits| digits.parse().ok());
                self.count = self.count.max(number.unwrap_or(u32::MAX));
            }
            name => {
                if !self.names.iter().any(|(known, _)| *known == name) {
                    self.names.push((name, next));
                    self.count = next;
                }
            }
        }
    }
}

/// Iterates over the statements of a text.
#[derive(Clone, Debug)]
pub struct Statements<'a> {
    text: &'a [u8],
    tokens: Tokens<'a>,
}

impl<'a> Iterator for Statements<'a> {
    type Item = Statement<'a>;

    fn next(&mut self) -> Option<Statement<'a>> {
        let mut reading: Option<Reading<'a>> = None;
        for token in self.tokens.by_ref() {
            match token.kind {
                TokenKind::Comment => {}
                TokenKind::Semicolon if reading.is_none() => {}
                TokenKind::Semicolon if reading.as_ref().is_some_and(Reading::ends_here) => {
                    return reading.and_then(|reading| reading.finish(self.text, Some(&token)));
                }
                _ => reading
                    .get_or_insert_with(|| Reading::new(&token))
                    .read(&token),
            }
        }
        reading.and_then(|reading| reading.finish(self.text, None))
    }
}

/// A statement in the course of being read.
struct Reading<'a> {
    statement: Statement<'a>,
    end: usize,
    last: Token<'a>,
    /// Whether a `;` stands before that token, in the body of a trigger.
    behind_semicolon: bool,
    depth: u32,
    head: Head,
    /// A RETURNING that is one unless what follows says otherwise.
    maybe_returning: bool,
}

/// What is expected at the beginning of a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    Verb,
    /// Behind EXPLAIN, whose statement decides where it ends.
    Explained,
    /// Among the common tables of WITH.
    With,
    /// Behind CREATE: it may be a trigger.
    Create,
    Trigger,
    /// Behind PRAGMA.
    Pragma,
    /// Behind ROLLBACK, which may be one TO a savepoint.
    Rollback,
    Body,
}

impl<'a> Reading<'a> {
    fn new(first: &Token<'a>) -> Self {
        let statement = Statement {
            text: &[],
            start: first.start,
            terminated: false,
            kind: StatementKind::Other,
            returning: false,
            or_rollback: false,
            pragma: None,
            parameters: Parameters::default(),
        };
        Self {
            statement,
            end: first.start,
            last: *first,
            behind_semicolon: false,
            depth: 0,
            head: Head::Verb,
            maybe_returning: false,
        }
    }

    /// Whether a `;` here ends the statement. The body of a trigger ends with `; END`.
    fn ends_here(&self) -> bool {
        self.head != Head::Trigger || (self.last.is("END") && self.behind_semicolon)
    }

    fn finish(mut self, text: &'a [u8], semicolon: Option<&Token<'a>>) -> Option<Statement<'a>> {
        let end = semicolon.map_or(self.end, Token::end);
        self.statement.text = text.get(self.statement.start..end)?;
        self.statement.terminated = semicolon.is_some();
        Some(self.statement)
    }

    fn read(&mut self, token: &Token<'a>) {
        self.end = token.end();
        if self.maybe_returning {
            let name = matches!(token.kind, TokenKind::Dot | TokenKind::Comma);
            self.statement.returning |= !name && token.text != b"=";
            self.maybe_returning = false;
        }
        match token.kind {
            TokenKind::Open => self.depth = self.depth.saturating_add(1),
            TokenKind::Close => self.depth = self.depth.saturating_sub(1),
            TokenKind::Parameter => self.statement.parameters.add(token.text),
            TokenKind::Word => self.word(token),
            _ => {}
        }
        self.head(token);
        self.behind_semicolon = self.last.kind == TokenKind::Semicolon;
        self.last = *token;
    }

    fn word(&mut self, token: &Token<'a>) {
        let last = self.last;
        if token.is("ROLLBACK") && last.is("OR") {
            self.statement.or_rollback = true;
        }
        if self.depth == 0
            && token.is("RETURNING")
            && (self.statement.kind.counts_rows() || self.head == Head::With)
        {
            let kinds = [TokenKind::Dot, TokenKind::Comma, TokenKind::Operator];
            self.maybe_returning = !kinds.contains(&last.kind) && !last.is("SET");
        }
    }

    /// Follows the first tokens, which tell what the statement is.
    fn head(&mut self, token: &Token<'a>) {
        match self.head {
            Head::Verb | Head::Explained => self.verb(token),
            Head::With if self.depth == 0 && token.kind == TokenKind::Word => {
                let behind = self.last.kind == TokenKind::Close;
                if behind && !token.is("AS") {
                    self.statement.kind = StatementKind::of(token);
                    self.head = Head::Body;
                }
            }
            Head::Create if token.is("TRIGGER") => self.head = Head::Trigger,
            Head::Create if !token.is("TEMP") && !token.is("TEMPORARY") => self.head = Head::Body,
            Head::Rollback if token.is("TO") => {
                self.statement.kind = StatementKind::RollbackTo;
                self.head = Head::Body;
            }
            Head::Pragma => self.pragma(token),
            _ => {}
        }
    }

    fn verb(&mut self, token: &Token<'a>) {
        let explained = self.head == Head::Explained;
        if explained && (token.is("QUERY") || token.is("PLAN")) {
            return;
        }
        let kind = StatementKind::of(token);
        self.head = match kind {
            StatementKind::Explain => Head::Explained,
            StatementKind::Create => Head::Create,
            StatementKind::Pragma if !explained => Head::Pragma,
            StatementKind::Rollback if !explained => Head::Rollback,
            _ if token.is("WITH") && !explained => Head::With,
            _ => Head::Body,
        };
        if !explained {
            self.statement.kind = kind;
        }
    }

    /// `PRAGMA schema.name = value` or `name(value)`.
    fn pragma(&mut self, token: &Token<'a>) {
        match (token.kind, &mut self.statement.pragma) {
            (TokenKind::Dot, _) => self.statement.pragma = None,
            (TokenKind::Word | TokenKind::Quoted | TokenKind::Text, pragma @ None) => {
                *pragma = Some(Pragma {
                    name: unquoted(token),
                    has_value: false,
                });
            }
            (_, Some(pragma)) => {
                pragma.has_value = true;
                self.head = Head::Body;
            }
            _ => self.head = Head::Body,
        }
    }
}

fn unquoted<'a>(token: &Token<'a>) -> &'a [u8] {
    match token.text {
        [_, name @ .., _] if token.kind != TokenKind::Word => name,
        name => name,
    }
}
