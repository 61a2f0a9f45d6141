//! Compiles the host of stock engines, a C program without any code of ours around it.

use std::env;
use std::path::Path;
use std::process::Command;

const SOURCE: &str = "src/stock/host.c";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SOURCE}");
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    let program = Path::new(&out).join("stock-host");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(&compiler)
        .args(["-O1", "-Wall", "-Werror", "-o"])
        .args([program.as_path(), Path::new(SOURCE)])
        .args(["-ldl", "-pthread"])
        .status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{compiler} {SOURCE}: {status:?}"
    );
    println!("cargo::rustc-env=DQLITE_STOCK_HOST={}", program.display());
}
