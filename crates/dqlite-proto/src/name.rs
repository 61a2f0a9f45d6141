//! Which database names can be sent to a server without harming it.

use crate::error::Violation;
use crate::frame::Limits;

/// Refuses names that make servers close the connection, open something else, or die.
pub fn check_database(name: &str) -> Result<(), Violation> {
    let refuse = |why| Err(Violation::DatabaseName(why));
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > Limits::DATABASE_NAME_MAX {
        return refuse("it is longer than 504 bytes");
    }
    if name.chars().any(char::is_control) {
        return refuse("it holds a control character");
    }
    if name.eq_ignore_ascii_case(":memory:") {
        return refuse("a database in memory is not replicated");
    }
    if name
        .as_bytes()
        .get(..5)
        .is_some_and(|head| head.eq_ignore_ascii_case(b"file:"))
    {
        return refuse("it is a URI");
    }
    if ["-wal", "-journal", "-shm"]
        .iter()
        .any(|end| name.ends_with(end))
    {
        return refuse("it ends like a file that belongs to a database");
    }
    Ok(())
}
