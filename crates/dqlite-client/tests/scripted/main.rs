//! The client against a server whose every byte a script decides.

mod admin;
mod client;
mod connections;
mod outcomes;
mod pool;
mod search;
mod support;
mod truth;
