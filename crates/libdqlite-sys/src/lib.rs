//! The C interface of libdqlite, loaded at run time.
