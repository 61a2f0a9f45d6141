//! Hosts a dqlite engine: gateway, membership, roles.
