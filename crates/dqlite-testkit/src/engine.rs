//! Engines for tests: the bundle of this checkout, and one that is too old.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The engine that tests run on: `DQLITE_ENGINE`, else the bundle that `tools/engine-bundle`
/// puts into the checkout. A missing one makes the first start fail, with the way to get it.
pub fn engine() -> PathBuf {
    let named = env::var_os("DQLITE_ENGINE").filter(|path| !path.is_empty());
    named.map_or_else(|| root().join(".engine"), PathBuf::from)
}

/// The checkout.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Unpacks packages of this machine's suite into `directory`, with its own apt client and without
/// installing anything. Gives the directory of the libraries.
pub fn unpack(packages: &[&str], directory: &Path) -> io::Result<PathBuf> {
    run(Command::new("apt-get")
        .arg("download")
        .args(packages)
        .current_dir(directory))?;
    let mut libraries = None;
    for entry in fs::read_dir(directory)? {
        let package = entry?.path();
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            run(Command::new("dpkg-deb")
                .arg("-x")
                .args([&package, directory]))?;
        }
    }
    for entry in fs::read_dir(directory.join("usr/lib"))? {
        libraries = Some(entry?.path());
    }
    libraries.ok_or_else(|| io::Error::other("the packages hold no library"))
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{command:?}: {said}")))
}
