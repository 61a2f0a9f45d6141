#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dqlite_fuzz::guard(data));
