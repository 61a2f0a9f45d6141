//! How the node process is started: which executable, which command line, which environment.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::{AccessFlags, access};

use crate::control::Tried;

const NAME: &str = "dqlite";
const VARIABLE: &str = "DQLITE_EXECUTABLE";

/// Variables that would change the child behind our back: libraries put in front of the engine's,
/// the size of a thread pool that an option sets, and the mark of a process that runs in an engine
/// bundle already.
const REMOVED: [&str; 4] = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "UV_THREADPOOL_SIZE",
    "DQLITE_SELF",
];

/// How to start one node, again and again.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) executable: PathBuf,
    pub(crate) engine: Option<PathBuf>,
    pub(crate) env: Vec<(String, String)>,
}

impl Launch {
    /// Starts the process, with pipes for all three streams that no other child inherits.
    ///
    /// The process gets its own group: Ctrl-C in a terminal goes to the application, which
    /// decides. It dies with the *thread* that calls this, by the kernel's parent-death signal.
    pub(crate) fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.executable);
        command.args(["node", "--control", "stdio"]);
        if let Some(engine) = &self.engine {
            command.arg("--engine").arg(engine);
        }
        for name in REMOVED {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.process_group(0).spawn()
    }
}

/// Finds the executable: `explicit`, then `DQLITE_EXECUTABLE`, then beside the running
/// executable, in cargo's target directories above it, and in `PATH`.
///
/// What is named must do: a wrong name is an error and never a reason to search on.
pub(crate) fn find(explicit: Option<&Path>) -> Result<PathBuf, Vec<Tried>> {
    let named = env::var_os(VARIABLE).filter(|path| !path.is_empty());
    if let Some(path) = explicit
        .map(Path::to_owned)
        .or_else(|| named.map(PathBuf::from))
    {
        return usable(&path)
            .map(|()| absolute(path))
            .map_err(|tried| vec![tried]);
    }
    let current = env::current_exe().unwrap_or_default();
    let path = env::var_os("PATH").unwrap_or_default();
    first(beside(&current).chain(in_path(&path)))
}

fn first(places: impl Iterator<Item = PathBuf>) -> Result<PathBuf, Vec<Tried>> {
    let mut tried: Vec<Tried> = Vec::new();
    for place in places {
        match usable(&place) {
            Ok(()) => return Ok(place),
            Err(why) if tried.contains(&why) => {}
            Err(why) => tried.push(why),
        }
    }
    Err(tried)
}

/// Beside `exe`; one up, for cargo's `deps` and `examples`; in a `target` above.
fn beside(exe: &Path) -> impl Iterator<Item = PathBuf> {
    let near = exe.ancestors().skip(1).take(2).map(Path::to_owned);
    let targets = exe.ancestors().skip(1).map(|above| above.join("target"));
    let built = targets
        .filter(|target| target.is_dir())
        .flat_map(|target| [target.join("debug"), target.join("release")]);
    near.chain(built)
        .map(|directory| directory.join(NAME))
        .collect::<Vec<_>>()
        .into_iter()
}

fn in_path(path: &OsStr) -> impl Iterator<Item = PathBuf> {
    // A relative entry would let the working directory decide what runs.
    env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(NAME))
}

fn usable(path: &Path) -> Result<(), Tried> {
    let reason = match path.metadata() {
        Err(reason) => reason.to_string(),
        Ok(found) if !found.is_file() => "not a file".into(),
        Ok(_) => match access(path, AccessFlags::X_OK) {
            Ok(()) => return Ok(()),
            Err(errno) => format!("not executable: {}", errno.desc()),
        },
    };
    let place = path.display().to_string();
    Err(Tried { place, reason })
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn executable(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn what_is_named_must_do() {
        let dir = tempfile::tempdir().unwrap();
        let tried = find(Some(&dir.path().join("none"))).unwrap_err();
        assert_eq!(tried.len(), 1);
        assert!(tried[0].reason.contains("No such file"), "{tried:?}");
        let tried = find(Some(dir.path())).unwrap_err();
        assert_eq!(tried[0].reason, "not a file");
        let plain = dir.path().join("plain");
        fs::write(&plain, "").unwrap();
        let tried = find(Some(&plain)).unwrap_err();
        assert!(tried[0].reason.starts_with("not executable"), "{tried:?}");
        executable(&plain);
        assert_eq!(find(Some(&plain)).unwrap(), plain);
    }

    #[test]
    fn cargos_directories_are_searched_from_a_test_upwards() {
        let dir = tempfile::tempdir().unwrap();
        let built = dir.path().join("target/debug/dqlite");
        executable(&built);
        for exe in [
            "target/debug/deps/it-1",
            "target/debug/app",
            "tools/venv/bin/python",
        ] {
            let exe = dir.path().join(exe);
            assert_eq!(first(beside(&exe)).unwrap(), built, "{}", exe.display());
        }
    }

    #[test]
    fn path_is_searched_in_order_without_relative_entries() {
        let dir = tempfile::tempdir().unwrap();
        let path = env::join_paths([Path::new("."), &dir.path().join("a"), &dir.path().join("b")]);
        let path = path.unwrap();
        assert_eq!(first(in_path(&path)).unwrap_err().len(), 2);
        executable(&dir.path().join("b/dqlite"));
        assert_eq!(first(in_path(&path)).unwrap(), dir.path().join("b/dqlite"));
        executable(&dir.path().join("a/dqlite"));
        assert_eq!(first(in_path(&path)).unwrap(), dir.path().join("a/dqlite"));
    }
}
