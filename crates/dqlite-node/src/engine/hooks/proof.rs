//! The proof, made once after loading, that the engine calls our functions and not the libraries'.

use std::sync::OnceLock;

use libdqlite_sys::{Library, is_of_this_program};

/// The names that the executable exports in front of the engine's libraries.
pub const HOOKED: &[&str] = &[
    "sqlite3_column_decltype",
    "malloc",
    "calloc",
    "realloc",
    "free",
    "sqlite3_prepare_v2",
    "sqlite3_close",
    "sqlite3_close_v2",
    "sqlite3_vfs_register",
    "sqlite3_set_authorizer",
    "sqlite3_stmt_readonly",
    "sqlite3_bind_parameter_count",
    "sqlite3_column_count",
    "sqlite3_step",
    "sqlite3_exec",
    "sysconf",
];

/// Those of them without which a node does not serve: nothing else stands between a client and its
/// death.
const INDISPENSABLE: &[&str] = &[
    "sqlite3_column_decltype",
    "malloc",
    "calloc",
    "realloc",
    "free",
    "sqlite3_vfs_register",
    "sqlite3_set_authorizer",
];

static IN_FORCE: OnceLock<Vec<&'static str>> = OnceLock::new();

/// A hook is not in force: a node would die by ordinary queries.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unproven {
    /// The engine does not call this function by name.
    #[error("the engine makes no visible call of {0}: its build binds such calls inside itself")]
    NotCalled(&'static str),
    /// Somebody else's function comes first.
    #[error(
        "the engine's calls of {0} do not reach this program: started with LD_PRELOAD, or by a \
         program that is not the executable `dqlite`"
    )]
    NotOurs(&'static str),
    /// There is no other function behind ours.
    #[error("the engine's own {0} cannot be found behind the one of this program")]
    NotBehind(&'static str),
}

/// Compares where the engine's calls of each name go with what this program exports, and gives the
/// names that are not in force although they should be.
///
/// An old engine makes fewer calls; a rule of the guard may stand in for a hook that is missing.
pub fn prove(library: &Library) -> Result<Vec<Unproven>, Unproven> {
    let mut proven = Vec::new();
    let mut missing = Vec::new();
    for name in HOOKED {
        let verdict = judge(
            name,
            library.bound_to(name),
            library.resolve(name),
            is_of_this_program,
        );
        match verdict {
            Ok(()) => proven.push(*name),
            Err(unproven) if INDISPENSABLE.contains(name) => return Err(unproven),
            Err(unproven) => missing.push(unproven),
        }
    }
    IN_FORCE.get_or_init(|| proven);
    Ok(missing)
}

/// Whether the engine of this process calls our function of that name.
pub fn in_force(name: &str) -> bool {
    IN_FORCE.get().is_some_and(|proven| proven.contains(&name))
}

fn judge(
    name: &'static str,
    bound: Option<usize>,
    behind: Option<usize>,
    ours: impl Fn(usize) -> bool,
) -> Result<(), Unproven> {
    let bound = bound.ok_or(Unproven::NotCalled(name))?;
    if !ours(bound) {
        return Err(Unproven::NotOurs(name));
    }
    match behind {
        Some(behind) if behind != bound && !ours(behind) => Ok(()),
        _ => Err(Unproven::NotBehind(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: usize = 1;
    const THEIRS: usize = 2;

    #[test]
    fn only_a_call_of_ours_with_another_behind_it_counts() {
        let judge = |bound, behind| judge("f", bound, behind, |address| address == OURS);
        assert_eq!(judge(Some(OURS), Some(THEIRS)), Ok(()));
        assert_eq!(judge(None, Some(THEIRS)), Err(Unproven::NotCalled("f")));
        assert_eq!(
            judge(Some(THEIRS), Some(THEIRS)),
            Err(Unproven::NotOurs("f"))
        );
        assert_eq!(judge(Some(OURS), Some(OURS)), Err(Unproven::NotBehind("f")));
        assert_eq!(judge(Some(OURS), None), Err(Unproven::NotBehind("f")));
    }
}
