//! The search for an engine: which places, in which order, and why each would not do.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use libdqlite_sys::{Library, Version};

use crate::engine::bundle::{Bundle, executable};

const VARIABLE: &str = "DQLITE_ENGINE";
const SYSTEM: &str = "libdqlite.so.0";

/// What the caller knows about where the engine is.
#[derive(Clone, Debug, Default)]
pub struct LocateOptions {
    /// A bundle's directory or a library; nothing else is tried then.
    pub explicit: Option<PathBuf>,
}

/// An engine to be loaded.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its library.
    pub library: PathBuf,
    /// The bundle that it is part of.
    pub bundle: Option<Bundle>,
    /// Which place of the search order it was.
    pub place: String,
    /// The places before it, and why each would not do.
    pub tried: Vec<(String, String)>,
}

/// No engine that will do.
#[derive(Debug, thiserror::Error)]
pub struct LocateError {
    /// Each place, and why it would not do.
    pub tried: Vec<(String, String)>,
}

impl LocateError {
    /// What the user can do about it.
    pub const FIX: &str = "Make a bundle with tools/engine-bundle of dqlite's sources and set \
        DQLITE_ENGINE to its directory, or install the wheel dqlite-engine";
}

impl fmt::Display for LocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no dqlite engine >= {} found. Tried:", Version::FLOOR)?;
        for (place, reason) in &self.tried {
            write!(f, "\n  {place}: {reason}")?;
        }
        write!(f, "\n{}", Self::FIX)
    }
}

/// Finds the engine: `explicit`, `DQLITE_ENGINE`, beside the executable, in the wheel
/// `dqlite-engine`, in the user's cache, the system's own.
///
/// A place that the user names is the only one: a bad one is an error, not a reason to go on.
pub fn locate(options: &LocateOptions) -> Result<Found, LocateError> {
    let named = match (&options.explicit, env::var_os(VARIABLE)) {
        (Some(path), _) => Some((format!("option engine ({})", path.display()), path.clone())),
        (None, Some(path)) if !path.is_empty() => Some((
            format!("{VARIABLE} ({})", path.display()),
            PathBuf::from(path),
        )),
        _ => None,
    };
    if let Some((place, path)) = named {
        return look(&place, &path).map_err(|reason| LocateError {
            tried: vec![(place, reason)],
        });
    }
    let mut tried = Vec::new();
    for (place, path) in usual_places() {
        match look(&place, &path) {
            Ok(found) => return Ok(Found { tried, ..found }),
            Err(reason) => tried.push((place, reason)),
        }
    }
    system(tried)
}

fn usual_places() -> Vec<(String, PathBuf)> {
    let mut places = Vec::new();
    if let Ok(executable) = executable() {
        let beside = |up: usize, down: &str| {
            executable
                .ancestors()
                .nth(up)
                .map(|directory| directory.join(down))
        };
        places.extend(beside(1, "engine").map(|path| ("beside the executable", path)));
        // site-packages/dqlite/_bin/dqlite and site-packages/dqlite_engine/bundle
        let wheel = beside(3, "dqlite_engine/bundle");
        places.extend(wheel.map(|path| ("wheel dqlite-engine", path)));
    }
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".cache")));
    places.extend(cache.map(|cache| ("user cache", cache.join("dqlite/engine"))));
    let described =
        |(place, path): (&str, PathBuf)| (format!("{place} ({})", path.display()), path);
    places.into_iter().map(described).collect()
}

fn look(place: &str, path: &Path) -> Result<Found, String> {
    let kind = path.metadata().map_err(|e| e.to_string())?;
    let (library, bundle) = if kind.is_dir() {
        let bundle = Bundle::read(path).map_err(|e| e.to_string())?;
        (bundle.library(), Some(bundle))
    } else {
        // A bare file name would be searched for in the system's directories.
        let library = path.canonicalize().map_err(|e| e.to_string())?;
        let beside = library
            .parent()
            .and_then(|directory| Bundle::read(directory).ok());
        let bundle = beside.filter(|bundle| bundle.library() == library);
        (library, bundle)
    };
    Ok(Found {
        library,
        bundle,
        place: place.to_owned(),
        tried: Vec::new(),
    })
}

/// The system's own library is tried by loading it: only the loader knows its directories.
fn system(mut tried: Vec<(String, String)>) -> Result<Found, LocateError> {
    let place = format!("system library ({SYSTEM})");
    match Library::open(SYSTEM.as_ref()) {
        Ok(library) => Ok(Found {
            library: library.path().to_owned(),
            bundle: None,
            place,
            tried,
        }),
        Err(reason) => {
            tried.push((place, reason.to_string()));
            Err(LocateError { tried })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explicit(path: &Path) -> Result<Found, LocateError> {
        locate(&LocateOptions {
            explicit: Some(path.to_owned()),
        })
    }

    #[test]
    fn a_named_place_that_will_not_do_is_the_only_one_tried() {
        let empty = tempfile::tempdir().unwrap();
        let error = explicit(empty.path()).unwrap_err();
        assert_eq!(error.tried.len(), 1);
        let text = error.to_string();
        assert!(text.contains("BUNDLE.json"), "{text}");
        assert!(text.contains(LocateError::FIX), "{text}");
        let error = explicit(&empty.path().join("absent.so")).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
    }

    #[test]
    fn a_library_alone_is_taken_without_a_bundle() {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("libdqlite.so.0");
        std::fs::write(&library, "").unwrap();
        let found = explicit(&library).unwrap();
        assert!(found.bundle.is_none() && found.library.ends_with("libdqlite.so.0"));
    }
}
