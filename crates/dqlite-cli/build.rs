//! Exports the names of `src/exports.rs` from the executable.

fn main() {
    // The one way that GNU ld, lld and zig's linker all understand.
    println!("cargo::rustc-link-arg-bins=-rdynamic");
    // The example hosts a node of its own.
    println!("cargo::rustc-link-arg-examples=-rdynamic");
    println!("cargo::rerun-if-changed=build.rs");
}
