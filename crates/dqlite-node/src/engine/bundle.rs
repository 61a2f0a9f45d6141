//! An engine bundle: a directory with the engine and all that it needs, its own libc included.
//!
//! The libraries of a bundle load under the bundle's own loader only, so the executable starts
//! itself again through it. `/proc/self/exe` is then the loader: the executable's own path travels
//! in the environment variable [`SELF`].

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::engine::locate::Found;

/// Environment variable that carries the executable's path through a bundle's loader.
pub const SELF: &str = "DQLITE_SELF";

const MANIFEST: &str = "BUNDLE.json";
const LIBRARY: &str = "libdqlite.so.0";

/// A directory that has been looked at and holds an engine for this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The directory.
    pub directory: PathBuf,
    /// The dynamic loader in it.
    pub loader: PathBuf,
    /// Version of the engine's package.
    pub engine: String,
    /// Where the packages were taken from.
    pub suite: String,
    /// All that the bundle says of itself: packages, versions, hashes.
    pub manifest: serde_json::Value,
}

/// Why a directory is no usable bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file is missing or unreadable.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The manifest is not one.
    #[error("{}: {reason}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Made for other machines.
    #[error("made for {made_for}, this machine is {}", env::consts::ARCH)]
    Architecture {
        /// Debian's name of the architecture.
        made_for: String,
    },
    /// The bundle's loader could not be started.
    #[error("start through {}: {source}", loader.display())]
    Start {
        /// The loader.
        loader: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

#[derive(Deserialize)]
struct Manifest {
    engine: String,
    suite: String,
    architecture: String,
    loader: String,
}

impl Bundle {
    /// Looks at `directory`.
    pub fn read(directory: &Path) -> Result<Self, BundleError> {
        let unreadable = |path: PathBuf| move |source| BundleError::Unreadable { path, source };
        let directory = directory
            .canonicalize()
            .map_err(unreadable(directory.to_owned()))?;
        let path = directory.join(MANIFEST);
        let text = std::fs::read(&path).map_err(unreadable(path.clone()))?;
        let malformed = |e: serde_json::Error| BundleError::Manifest {
            path: path.clone(),
            reason: e.to_string(),
        };
        let whole: serde_json::Value = serde_json::from_slice(&text).map_err(malformed)?;
        let manifest = Manifest::deserialize(&whole).map_err(malformed)?;
        if !matches!(
            (manifest.architecture.as_str(), env::consts::ARCH),
            ("amd64", "x86_64") | ("arm64", "aarch64")
        ) {
            return Err(BundleError::Architecture {
                made_for: manifest.architecture,
            });
        }
        if manifest.loader.contains('/') {
            let reason = format!("loader {:?} is not in the directory", manifest.loader);
            return Err(BundleError::Manifest { path, reason });
        }
        let loader = directory.join(&manifest.loader);
        for file in [&loader, &directory.join(LIBRARY)] {
            std::fs::metadata(file).map_err(unreadable(file.clone()))?;
        }
        let Manifest { engine, suite, .. } = manifest;
        Ok(Self {
            directory,
            loader,
            engine,
            suite,
            manifest: whole,
        })
    }

    /// The engine in it.
    pub fn library(&self) -> PathBuf {
        self.directory.join(LIBRARY)
    }

    /// Whether this process was started through this bundle's loader.
    fn runs_this_process(&self) -> bool {
        let file = |path: &Path| path.metadata().map(|m| (m.dev(), m.ino())).ok();
        let loader = file(&self.loader);
        loader.is_some() && loader == file(Path::new("/proc/self/exe"))
    }
}

/// The executable's own path, also under a bundle's loader.
pub fn executable() -> io::Result<PathBuf> {
    let running = env::current_exe()?;
    let is_loader = running
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"ld-linux"));
    match env::var_os(SELF) {
        Some(path) if is_loader => Ok(path.into()),
        _ => Ok(running),
    }
}

/// Starts this program again through the loader of the bundle that was found; returns where
/// nothing is to be done: no bundle, or already under its loader.
///
/// To be called before the first byte of stdin is read. Process id, pipes, arguments and death
/// signal survive; `LD_PRELOAD` and `LD_LIBRARY_PATH` go, as they would get in front of the
/// bundle's libraries.
pub fn reexec_through_bundle(found: &Found) -> Result<(), BundleError> {
    let Some(bundle) = found
        .bundle
        .as_ref()
        .filter(|bundle| !bundle.runs_this_process())
    else {
        return Ok(());
    };
    match exec(bundle) {
        Ok(never) => match never {},
        Err(source) => Err(BundleError::Start {
            loader: bundle.loader.clone(),
            source,
        }),
    }
}

fn exec(bundle: &Bundle) -> io::Result<Infallible> {
    let executable = executable()?;
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("dqlite"));
    Err(Command::new(&bundle.loader)
        .arg("--inhibit-cache")
        .arg("--library-path")
        .arg(&bundle.directory)
        .arg("--argv0")
        .arg(name)
        .arg(&executable)
        .args(arguments)
        .env(SELF, &executable)
        .env_remove("LD_PRELOAD")
        .env_remove("LD_LIBRARY_PATH")
        .exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(architecture: &str, loader: &str) -> String {
        format!(
            r#"{{"engine":"1.18.7-1","suite":"sid",
                "architecture":"{architecture}","loader":"{loader}"}}"#
        )
    }

    fn read(manifest: &str, files: &[&str]) -> Result<Bundle, BundleError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(MANIFEST), manifest).unwrap();
        for file in files {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        Bundle::read(directory.path())
    }

    fn here() -> &'static str {
        if env::consts::ARCH == "aarch64" {
            "arm64"
        } else {
            "amd64"
        }
    }

    #[test]
    fn a_whole_bundle_is_read() {
        let bundle = read(&manifest(here(), "ld-linux.so"), &["ld-linux.so", LIBRARY]).unwrap();
        assert_eq!(
            (bundle.engine.as_str(), bundle.suite.as_str()),
            ("1.18.7-1", "sid")
        );
        assert!(bundle.library().ends_with(LIBRARY));
        assert!(!bundle.runs_this_process());
    }

    #[test]
    fn what_is_wrong_with_a_bundle_is_said() {
        let error = |manifest: &str, files: &[&str]| read(manifest, files).unwrap_err().to_string();
        assert!(error(&manifest(here(), "ld.so"), &["ld.so"]).contains(LIBRARY));
        assert!(error(&manifest(here(), "ld.so"), &[LIBRARY]).contains("ld.so"));
        assert!(error(&manifest("s390x", "ld.so"), &[]).contains("made for s390x"));
        assert!(error(&manifest(here(), "../ld.so"), &[]).contains("not in the directory"));
        assert!(error("{}", &[]).contains("engine"));
        assert!(
            Bundle::read(Path::new("/nowhere"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere")
        );
    }
}
