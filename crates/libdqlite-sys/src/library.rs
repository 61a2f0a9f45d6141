//! Opening an engine, and refusing the ones that a node must not run on.

use std::error::Error as _;
use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use libloading::os::unix;

use crate::elf;
use crate::sqlite::Sqlite;
use crate::symbols::{Symbols, TABLE};

/// Environment variable that lets a node run on a 1.18 older than the floor.
pub const ALLOW_OLD_ENGINE: &str = "DQLITE_ALLOW_OLD_ENGINE";

/// What an engine older than the floor lacks, for a warning.
pub const LOST_BEFORE_FLOOR: &str = "a long query blocks the whole node, RETURNING fails and stops \
     later writes, VACUUM fails, writers get BUSY at once (no busy timeout), snapshots cannot be \
     kept small";

/// A release of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32);

impl Version {
    /// The oldest release with the interface that a node needs.
    pub const OLDEST: Self = Self::new(1, 18, 0);
    /// The oldest release that a node takes unasked: fair queue of writers, RETURNING works, long
    /// queries do not block the node.
    pub const FLOOR: Self = Self::new(1, 18, 2);

    /// The release `major.minor.release`.
    pub const fn new(major: u32, minor: u32, release: u32) -> Self {
        Self(major * 10_000 + minor * 100 + release)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.{}",
            self.0 / 10_000,
            self.0 / 100 % 100,
            self.0 % 100
        )
    }
}

/// Why a library will not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The loader refuses it.
    #[error("{}: {reason}{}", path.display(), advice(reason))]
    Open {
        /// The library.
        path: PathBuf,
        /// The loader's words.
        reason: String,
    },
    /// It is something else.
    #[error("{}: not a libdqlite: it lacks {missing}", path.display())]
    NotAnEngine {
        /// The library.
        path: PathBuf,
        /// The function that every engine has.
        missing: &'static str,
    },
    /// It is an engine that a node must not run on.
    #[error(
        "{}: an engine that calls itself {found} found, {} or newer needed{}. {HOW_TO_GET}",
        path.display(), Version::FLOOR, lacking(missing)
    )]
    TooOld {
        /// The library.
        path: PathBuf,
        /// Its release.
        found: Version,
        /// The functions that it lacks, as far as they are required.
        missing: Vec<&'static str>,
    },
    /// It is an engine that is taken only when asked for.
    #[error(
        "{}: an engine that calls itself {found} found, {} or newer needed. \
         With it {LOST_BEFORE_FLOOR}; {ALLOW_OLD_ENGINE}=1 takes it all the same. {HOW_TO_GET}",
        path.display(), Version::FLOOR
    )]
    BelowFloor {
        /// The library.
        path: PathBuf,
        /// Its release.
        found: Version,
    },
}

const HOW_TO_GET: &str = "Get one with tools/engine-bundle of \
     dqlite's sources, and name it with DQLITE_ENGINE";

fn lacking(missing: &[&str]) -> String {
    if missing.is_empty() {
        String::new()
    } else {
        format!("; it lacks {}", missing.join(", "))
    }
}

fn advice(reason: &str) -> &'static str {
    if reason.contains("GLIBC_") {
        " (this machine's libc is too old for it: use an engine bundle, which brings its own)"
    } else {
        ""
    }
}

/// A loaded engine. Never closed: it has registered functions with the process's SQLite.
#[derive(Debug)]
pub struct Library {
    path: PathBuf,
    version: Version,
    text: Option<String>,
    symbols: Symbols,
    sqlite: Sqlite,
    handle: unix::Library,
    raw: *mut c_void,
}

// SAFETY: `raw` is a handle for the loader's look-up functions, which any thread may call; all
// else is plain data and function pointers.
unsafe impl Send for Library {}
// SAFETY: as above; nothing changes after opening.
unsafe impl Sync for Library {}

impl Library {
    /// Loads the engine at `path`, or the system's where `path` is a bare file name.
    ///
    /// A release before [`Version::FLOOR`] is refused, a 1.18 unless [`ALLOW_OLD_ENGINE`] is `1`.
    pub fn open(path: &Path) -> Result<&'static Self, LoadError> {
        Self::open_with(
            path,
            std::env::var_os(ALLOW_OLD_ENGINE).is_some_and(|v| v == "1"),
        )
    }

    /// [`Library::open`], told whether a 1.18 before the floor will do.
    pub fn open_with(path: &Path, allow_old: bool) -> Result<&'static Self, LoadError> {
        let open_error = |e: libloading::Error| {
            // The loader's own words are one level down.
            let reason = e
                .source()
                .map_or_else(|| e.to_string(), ToString::to_string);
            LoadError::Open {
                path: path.to_owned(),
                reason,
            }
        };
        // Not RTLD_DEEPBIND: it would bind the engine past the program's stand-ins.
        let flags = unix::RTLD_NOW | unix::RTLD_LOCAL;
        // SAFETY: the initialisers of libdqlite and of what it needs only set up tables. Another
        // library that the user names runs its own; that is what naming it means.
        let handle = unsafe { unix::Library::open(Some(path), flags) }.map_err(open_error)?;
        let refused = |missing| LoadError::NotAnEngine {
            path: path.to_owned(),
            missing,
        };
        // SAFETY: this function takes nothing and returns an int in every libdqlite.
        let version = unsafe {
            let number = handle
                .get::<unsafe extern "C" fn() -> i32>("dqlite_version_number")
                .map_err(|_| refused("dqlite_version_number"))?;
            Version(u32::try_from(number()).unwrap_or(0))
        };
        let missing = missing(&handle, |entry| entry.required);
        if version < Version::OLDEST || !missing.is_empty() {
            return Err(LoadError::TooOld {
                path: path.to_owned(),
                found: version,
                missing,
            });
        }
        // SAFETY: a libdqlite of a known release.
        let symbols = unsafe { Symbols::find(&handle) }.map_err(open_error)?;
        let complete = symbols.dqlite_node_set_busy_timeout.is_some();
        if (version < Version::FLOOR || !complete) && !allow_old {
            return Err(LoadError::BelowFloor {
                path: path.to_owned(),
                found: version,
            });
        }
        // SAFETY: as above.
        let sqlite = unsafe { Sqlite::find(&handle) }.map_err(open_error)?;
        let text = version_text(&handle);
        let raw = handle.into_raw();
        // SAFETY: `raw` has just been taken out of a library opened above.
        let handle = unsafe { unix::Library::from_raw(raw) };
        let path = path.to_owned();
        Ok(Box::leak(Box::new(Self {
            path,
            version,
            text,
            symbols,
            sqlite,
            handle,
            raw,
        })))
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The release.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The release in the engine's own words, where it has any.
    pub fn version_text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The engine's functions.
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// The engine's SQLite.
    pub fn sqlite(&self) -> &Sqlite {
        &self.sqlite
    }

    /// Functions of our table that this engine lacks.
    pub fn missing(&self) -> Vec<&'static str> {
        missing(&self.handle, |_| true)
    }

    /// The address that the engine's own calls of `name` go to; none if it calls no such function.
    pub fn bound_to(&self, name: &str) -> Option<usize> {
        // SAFETY: opened with RTLD_NOW, never closed.
        unsafe { elf::bound_to(self.raw, name) }
    }

    /// The addresses between which the engine's code lies.
    pub fn extent(&self) -> Range<usize> {
        // SAFETY: opened, never closed.
        unsafe { elf::extent(self.raw) }
    }

    /// Where `name` is in the engine or what it has loaded, past the program's own exports.
    pub fn resolve(&self, name: &str) -> Option<usize> {
        // SAFETY: the address is only compared.
        unsafe { self.handle.get::<*const c_void>(name) }
            .ok()
            .map(|s| s.into_raw() as usize)
    }
}

fn missing(handle: &unix::Library, which: impl Fn(&crate::Entry) -> bool) -> Vec<&'static str> {
    let lacks = |name: &str| {
        // SAFETY: only asked whether it is there.
        unsafe { handle.get::<*const c_void>(name) }.is_err()
    };
    TABLE
        .iter()
        .filter(|e| which(e) && lacks(e.name))
        .map(|e| e.name)
        .collect()
}

fn version_text(handle: &unix::Library) -> Option<String> {
    // SAFETY: a data symbol that holds a pointer to constant text, where it exists.
    unsafe {
        let text = handle
            .get::<*const *const c_char>("dqlite_version_string")
            .ok()?;
        let start = **text;
        (!start.is_null()).then(|| CStr::from_ptr(start).to_string_lossy().into_owned())
    }
}
