//! Types of other crates, each behind a feature of its name.
//!
//! | type | sent as | read from |
//! |---|---|---|
//! | `uuid::Uuid` | 16 bytes | 16 bytes, or its text |
//! | `serde_json::Value` | text | text |
//! | `jiff` and `chrono` dates and times | text as SQLite's own functions write it | such text |
//! | `jiff::Timestamp`, `chrono::DateTime<Utc>` | text with `+00:00` | such text, or seconds |

#[cfg(feature = "chrono")]
mod chrono;
#[cfg(feature = "jiff")]
mod jiff;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "uuid")]
mod uuid;

/// The text of a value, if it is one.
#[cfg(any(
    feature = "chrono",
    feature = "jiff",
    feature = "json",
    feature = "uuid"
))]
fn text(value: dqlite_proto::ValueRef<'_>) -> Option<&str> {
    use dqlite_proto::ValueRef;
    match value {
        ValueRef::Text(text) | ValueRef::Iso8601(text) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}
