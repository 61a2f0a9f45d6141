//! Test tools: fake server, real clusters, ports.
