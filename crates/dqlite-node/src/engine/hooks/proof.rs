//! The proof, made once after loading, that the engine calls our functions and not the libraries'.

use libdqlite_sys::{Library, is_of_this_program};

/// The names that the executable exports in front of the engine's libraries.
pub const HOOKED: &[&str] = &[
    "sqlite3_column_decltype",
    "malloc",
    "calloc",
    "realloc",
    "free",
];

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

/// Compares where the engine's calls of each name go with what this program exports.
pub fn prove(library: &Library) -> Result<(), Unproven> {
    HOOKED.iter().try_for_each(|name| {
        judge(
            name,
            library.bound_to(name),
            library.resolve(name),
            is_of_this_program,
        )
    })
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
