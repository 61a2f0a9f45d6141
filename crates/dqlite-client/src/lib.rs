//! Client for dqlite clusters: leader search, connections, cluster administration.
