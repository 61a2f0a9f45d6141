//! A SQLite that is not ours, to look at what we wrote: that of this machine's Python.

use std::io;
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = "
import sqlite3, sys
database = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True)
assert database.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
for row in database.execute(sys.argv[2]):
    print(*row, sep='|')
";

/// The rows of a query on a database that is opened for reading only, after a check of the whole;
/// one on each line, columns apart by `|`.
pub fn query(database: &Path, sql: &str) -> io::Result<String> {
    let output = Command::new("python3")
        .args(["-I", "-c", SCRIPT])
        .args([database.as_os_str(), sql.as_ref()])
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}
