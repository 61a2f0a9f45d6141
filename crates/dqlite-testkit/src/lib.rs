//! What the tests of several crates share: a scripted server, real clusters, ports.
//!
//! | module | gives |
//! |---|---|
//! | [`fake_server`] | a server without an engine whose every byte a script decides |
//! | [`ports`] | ports from the operating system that stay free for a while |

pub mod fake_server;
pub mod ports;
