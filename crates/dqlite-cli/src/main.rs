//! The `dqlite` executable.

fn main() {}
