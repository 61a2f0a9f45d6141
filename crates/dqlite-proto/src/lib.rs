//! The dqlite wire protocol: bytes and rules, no sockets, no clock.
