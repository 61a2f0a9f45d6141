//! Tokens: the proof that a transaction took effect, PURE.
//!
//! The first statement of a transaction with a token inserts the token into a table of the same
//! database. So token and effect become durable together, or not at all. After a COMMIT whose
//! answer was lost, the next run inserts the same token again: if that is refused as a duplicate,
//! the earlier run took effect. A leader that has been replaced cannot mislead it, because it
//! cannot commit.
//!
//! # How long a token is remembered
//!
//! At least [`RETENTION`], seven days: a call with the same token within that time happens once.
//! Older tokens are removed by later transactions with tokens, now and then and
//! [`PRUNED_MAX`] at a time, so the table holds about a week of tokens. [`FORGET`] removes them
//! earlier.

use std::fmt;
use std::time::Duration;

use dqlite_proto::{Code, Failure};

/// The table that holds the tokens.
pub const TABLE: &str = "_dqlite_tokens";
/// Makes the table.
pub const CREATE: &str = "CREATE TABLE IF NOT EXISTS _dqlite_tokens \
    (token BLOB PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID";
/// Inserts a token, its one parameter.
pub const INSERT: &str = "INSERT INTO _dqlite_tokens (token, at) \
    VALUES (?, CAST(strftime('%s', 'now') AS INTEGER))";
/// Removes tokens that are older than so many seconds, the first parameter, at most as many as
/// the second says.
pub const FORGET: &str = "DELETE FROM _dqlite_tokens WHERE token IN \
    (SELECT token FROM _dqlite_tokens \
     WHERE at < CAST(strftime('%s', 'now') AS INTEGER) - ? LIMIT ?)";
/// How long a token is remembered at least.
pub const RETENTION: Duration = Duration::from_hours(7 * 24);
/// How many old tokens one transaction removes at most.
pub const PRUNED_MAX: u32 = 1000;
/// One in so many transactions looks for old tokens.
pub const PRUNED_EVERY: u32 = 256;

const TOKEN_BYTES_MAX: usize = 1024;

/// Names one intended effect. Whoever means the same effect uses the same token; nobody else may.
///
/// ```
/// use dqlite_client::Token;
/// let order = Token::from("order 4711");
/// assert_eq!(order, Token::from(b"order 4711".as_slice()));
/// assert_ne!(Token::random(), Token::random());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(Box<[u8]>);

impl Token {
    /// A token of its own, for effects that are not named by anything else.
    pub fn random() -> Self {
        let bytes = fastrand::u128(..).to_le_bytes();
        Self(bytes.into())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it can be used: it may be neither empty nor longer than 1024 bytes.
    pub fn is_valid(&self) -> bool {
        (1..=TOKEN_BYTES_MAX).contains(&self.0.len())
    }
}

impl From<&str> for Token {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<&[u8]> for Token {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Token {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.0.escape_ascii())
    }
}

/// What the failure of [`INSERT`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An earlier run with this token took effect.
    Applied,
    /// There is no table yet: make it, then insert again.
    NoTable,
    /// Nothing about the token.
    Other,
}

impl Finding {
    /// Judges the failure that answered the insert.
    ///
    /// ```
    /// use dqlite_client::token::Finding;
    /// use dqlite_client::{Code, Failure};
    /// let failure = Failure {
    ///     code: Code::CONSTRAINT_PRIMARYKEY,
    ///     message: "UNIQUE constraint failed: _dqlite_tokens.token".to_owned(),
    /// };
    /// assert_eq!(Finding::of(&failure), Finding::Applied);
    /// ```
    pub fn of(failure: &Failure) -> Self {
        let names_table = failure.message.contains(TABLE);
        match failure.code.primary() {
            Code::CONSTRAINT if names_table => Self::Applied,
            Code::ERROR if failure.message.starts_with("no such table") && names_table => {
                Self::NoTable
            }
            _ => Self::Other,
        }
    }
}
