//! SQLite's tokens: where they begin and end, not what they mean.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A keyword or a bare name.
    Word,
    /// A name in `"…"`, `` `…` `` or `[…]`.
    Quoted,
    /// A text in `'…'`.
    Text,
    /// A number.
    Number,
    /// `?`, `?5`, `:name`, `@name` or `$name`.
    Parameter,
    /// `;`
    Semicolon,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `.`
    Dot,
    /// `--` to the end of the line, or `/* … */`.
    Comment,
    /// Anything else, byte by byte.
    Operator,
}

/// A piece of a statement. Blanks are not tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: TokenKind,
    /// Where it begins in the text.
    pub start: usize,
    /// Its bytes, quotes included.
    pub text: &'a [u8],
    /// Whether its closing quote or comment end is missing.
    pub open: bool,
}

impl Token<'_> {
    /// Where it ends in the text.
    pub const fn end(&self) -> usize {
        self.start.saturating_add(self.text.len())
    }

    /// Whether it is that keyword, written in capitals here.
    #[inline]
    pub fn is(&self, keyword: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(keyword.as_bytes())
    }
}

/// Cuts a text into tokens, comments included.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    /// Starts at the beginning of a text. It need not be UTF-8.
    pub const fn new(text: &'a [u8]) -> Self {
        Self { rest: text, at: 0 }
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, &[]));
        self.rest = rest;
        self.at = self.at.saturating_add(head.len());
        head
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    #[inline]
    fn next(&mut self) -> Option<Token<'a>> {
        self.take(run(self.rest, |byte| {
            matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
        }));
        let first = *self.rest.first()?;
        let second = self.rest.get(1).copied();
        let start = self.at;
        let (kind, len) = match first {
            b'-' if second == Some(b'-') => (
                TokenKind::Comment,
                Some(run(self.rest, |byte| byte != b'\n')),
            ),
            b'/' if second == Some(b'*') => (TokenKind::Comment, block_comment(self.rest)),
            b'\'' => (TokenKind::Text, quoted(self.rest, b'\'')),
            b'"' | b'`' => (TokenKind::Quoted, quoted(self.rest, first)),
            b'[' => (
                TokenKind::Quoted,
                position(self.rest, b']').map(|at| at.saturating_add(1)),
            ),
            b'?' => {
                let digits = self
                    .rest
                    .get(1..)
                    .map_or(0, |rest| run(rest, |b| b.is_ascii_digit()));
                (TokenKind::Parameter, Some(digits.saturating_add(1)))
            }
            b':' | b'@' | b'$' => match parameter(self.rest) {
                Some(len) => (TokenKind::Parameter, Some(len)),
                None => (TokenKind::Operator, Some(1)),
            },
            b';' => (TokenKind::Semicolon, Some(1)),
            b'(' => (TokenKind::Open, Some(1)),
            b')' => (TokenKind::Close, Some(1)),
            b',' => (TokenKind::Comma, Some(1)),
            b'.' if !second.is_some_and(|byte| byte.is_ascii_digit()) => (TokenKind::Dot, Some(1)),
            b'.' | b'0'..=b'9' => (
                TokenKind::Number,
                Some(run(self.rest, |byte| byte == b'.' || is_word(byte))),
            ),
            _ if is_word(first) => (TokenKind::Word, Some(run(self.rest, is_word))),
            _ => (TokenKind::Operator, Some(1)),
        };
        let text = self.take(len.unwrap_or(self.rest.len()));
        Some(Token {
            kind,
            start,
            text,
            open: len.is_none(),
        })
    }
}

/// Bytes that SQLite takes as part of a name. Everything beyond ASCII is one.
#[inline]
fn is_word(byte: u8) -> bool {
    WORD_BYTES.get(usize::from(byte)) == Some(&true)
}

const WORD_BYTES: [bool; 256] = {
    let mut bytes = [true; 256];
    let mut ascii = bytes.as_mut_slice().split_at_mut(128).0;
    let mut byte = 0_u8;
    while let Some((first, rest)) = ascii.split_first_mut() {
        *first = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$';
        ascii = rest;
        byte = byte.wrapping_add(1);
    }
    bytes
};

#[inline]
fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|byte| !belongs(*byte))
        .unwrap_or(bytes.len())
}

fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

/// Length of a quoted token; a doubled quote stands for itself.
fn quoted(bytes: &[u8], quote: u8) -> Option<usize> {
    let mut len = 1_usize;
    loop {
        len = len
            .saturating_add(position(bytes.get(len..)?, quote)?)
            .saturating_add(1);
        if bytes.get(len) != Some(&quote) {
            return Some(len);
        }
        len = len.saturating_add(1);
    }
}

fn block_comment(bytes: &[u8]) -> Option<usize> {
    let body = bytes.get(2..)?;
    let end = body.windows(2).position(|pair| pair == b"*/")?;
    Some(end.saturating_add(4))
}

/// Length of `:name` and the like. As SQLite does, `::` may stand inside and a suffix in
/// parentheses may follow.
fn parameter(bytes: &[u8]) -> Option<usize> {
    let mut len = 1_usize;
    let mut letters = 0_usize;
    while let Some(byte) = bytes.get(len).copied() {
        let next = bytes.get(len.saturating_add(1)).copied();
        if is_word(byte) {
            letters = letters.saturating_add(1);
        } else if byte == b':' && next == Some(b':') {
            len = len.saturating_add(1);
        } else if byte == b'(' && letters > 0 {
            let suffix = bytes.get(len..)?;
            let end = run(suffix, |b| b != b')' && !b.is_ascii_whitespace());
            let closed = suffix.get(end) == Some(&b')');
            return closed.then(|| len.saturating_add(end).saturating_add(1));
        } else {
            break;
        }
        len = len.saturating_add(1);
    }
    (letters > 0).then_some(len)
}
