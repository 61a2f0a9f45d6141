//! Loading the engine that was found, with the hooks in force.

use std::sync::OnceLock;

use libdqlite_sys::{Library, LoadError, Version};

use crate::engine::hooks::{self, Unproven};
use crate::engine::locate::Found;

/// Why the engine that was found cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its library does not load, or is too old.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The functions that stand in for its crashes are not in force.
    #[error(transparent)]
    Unproven(#[from] Unproven),
}

/// Loads the engine into this process, once, and proves that it calls our hooks.
///
/// To be called in the process that [`reexec_through_bundle`](crate::engine::reexec_through_bundle)
/// has left, and before any node is created. The same library is returned to every caller.
pub fn open(found: &Found) -> Result<&'static Library, OpenError> {
    static OPENED: OnceLock<&'static Library> = OnceLock::new();
    if let Some(library) = OPENED.get() {
        return Ok(library);
    }
    let library = Library::open(&found.library)?;
    hooks::install(library);
    hooks::statements::install(library).map_err(Unproven::NotBehind)?;
    for unproven in hooks::prove(library)? {
        tracing::warn!(%unproven, "a hook is not in force");
    }
    if library.version() < Version::FLOOR {
        tracing::warn!(
            version = %library.version(),
            lost = libdqlite_sys::LOST_BEFORE_FLOOR,
            "an engine before {} was asked for", Version::FLOOR
        );
    }
    Ok(OPENED.get_or_init(|| library))
}
