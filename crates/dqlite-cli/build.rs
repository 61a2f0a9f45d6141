//! Exports the names of `src/exports.rs` from the executable.

fn main() {
    // The one way that GNU ld, lld and zig's linker all understand.
    println!("cargo::rustc-link-arg-bins=-rdynamic");
    // One example and one test host a node of their own.
    println!("cargo::rustc-link-arg-examples=-rdynamic");
    println!("cargo::rustc-link-arg-tests=-rdynamic");
    println!("cargo::rerun-if-changed=build.rs");
}
