//! The table of the engine's functions: C name, signature, since when.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::marker::{PhantomData, PhantomPinned};

use crate::library::Version;

/// A node of the engine; lives behind a pointer only.
#[repr(C)]
pub struct Node {
    opaque: [u8; 0],
    not_ours: PhantomData<(*mut u8, PhantomPinned)>,
}

/// Identifies a member of a cluster.
pub type NodeId = u64;

/// Connects the engine to a peer: `arg`, the peer's address, where to put the descriptor of a
/// connected stream socket. 0 is success.
pub type ConnectFn =
    unsafe extern "C" fn(arg: *mut c_void, address: *const c_char, fd: *mut c_int) -> c_int;

/// Keep no more of the log than the snapshot weighs: a strategy for
/// `dqlite_node_set_snapshot_params_v2`.
pub const SNAPSHOT_TRAILING_DYNAMIC: c_int = 1;

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name in C.
    pub name: &'static str,
    /// Without it a library is no engine for us.
    pub required: bool,
    /// The first release that has it.
    pub since: Version,
    /// The declaration in C, for comparison with a header.
    pub declaration: &'static str,
}

macro_rules! symbols {
    (@type required $function:ty) => { $function };
    (@type optional $function:ty) => { Option<$function> };
    (@keep required $found:ident) => { $found? };
    (@keep optional $found:ident) => { $found.ok() };
    ($($(#[$doc:meta])* $need:ident since ($major:literal, $minor:literal, $release:literal)
        fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?
        = $declaration:literal;)*) => {
        /// The engine's functions. See the crate's page for what their callers must keep.
        #[derive(Debug)]
        pub struct Symbols {
            $($(#[$doc])* pub $name:
                symbols!(@type $need unsafe extern "C" fn($($argument: $type),*) $(-> $result)?),)*
        }

        /// Every function we know, in the order of [`Symbols`].
        pub const TABLE: &[Entry] = &[$(Entry {
            name: stringify!($name),
            required: matches!(stringify!($need).as_bytes(), b"required"),
            since: Version::new($major, $minor, $release),
            declaration: $declaration,
        },)*];

        impl Symbols {
            /// Takes each function from `library`.
            ///
            /// # Safety
            /// `library` is a libdqlite: names of the table have the signatures of the table.
            pub(crate) unsafe fn find(
                library: &libloading::os::unix::Library,
            ) -> Result<Self, libloading::Error> {
                $(
                    // SAFETY: the caller says that this name has this signature.
                    let $name = unsafe {
                        library.get::<unsafe extern "C" fn($($argument: $type),*) $(-> $result)?>(
                            stringify!($name),
                        )
                    }
                    .map(|symbol| *symbol);
                )*
                Ok(Self { $($name: symbols!(@keep $need $name),)* })
            }
        }
    };
}

symbols! {
    /// The release as a number: major * 10000 + minor * 100 + release.
    required since (1, 0, 0) fn dqlite_version_number() -> c_int
        = "int dqlite_version_number(void)";
    /// Makes a node; copies both strings. A node is set on failure, too, and must be destroyed.
    required since (1, 0, 0) fn dqlite_node_create(
        id: NodeId, address: *const c_char, data_dir: *const c_char, node: *mut *mut Node
    ) -> c_int
        = "int dqlite_node_create(dqlite_node_id, const char *, const char *, dqlite_node **)";
    /// Frees a node that was never started, or was stopped.
    required since (1, 0, 0) fn dqlite_node_destroy(node: *mut Node)
        = "void dqlite_node_destroy(dqlite_node *)";
    /// Binds at once; mandatory, once.
    required since (1, 0, 0) fn dqlite_node_set_bind_address(
        node: *mut Node, address: *const c_char
    ) -> c_int
        = "int dqlite_node_set_bind_address(dqlite_node *, const char *)";
    /// The bound address; how to learn the name of an automatic one.
    required since (1, 0, 0) fn dqlite_node_get_bind_address(node: *mut Node) -> *const c_char
        = "const char *dqlite_node_get_bind_address(dqlite_node *)";
    /// Replaces the engine's own dialling. Runs on the engine's worker threads.
    required since (1, 0, 0) fn dqlite_node_set_connect_func(
        node: *mut Node, connect: ConnectFn, arg: *mut c_void
    ) -> c_int
        = "int dqlite_node_set_connect_func(dqlite_node *, int (*)(void *, const char *, int *), void *)";
    /// One way; an election follows after 15 to 30 times as much.
    required since (1, 9, 0) fn dqlite_node_set_network_latency_ms(
        node: *mut Node, latency_ms: c_uint
    ) -> c_int
        = "int dqlite_node_set_network_latency_ms(dqlite_node *, unsigned)";
    /// Reported by DESCRIBE.
    required since (1, 5, 0) fn dqlite_node_set_failure_domain(node: *mut Node, code: u64) -> c_int
        = "int dqlite_node_set_failure_domain(dqlite_node *, unsigned long long)";
    /// Entries between snapshots, and kept behind one.
    required since (1, 8, 0) fn dqlite_node_set_snapshot_params(
        node: *mut Node, threshold: c_uint, trailing: c_uint
    ) -> c_int
        = "int dqlite_node_set_snapshot_params(dqlite_node *, unsigned, unsigned)";
    /// The same with a strategy for what is kept.
    optional since (1, 18, 2) fn dqlite_node_set_snapshot_params_v2(
        node: *mut Node, threshold: c_uint, trailing: c_uint, strategy: c_int
    ) -> c_int
        = "int dqlite_node_set_snapshot_params_v2(dqlite_node *, unsigned, unsigned, enum dqlite_snapshot_trailing_strategy)";
    /// Size of the log's writes: a power of two from 512 to 256 KiB.
    required since (1, 15, 0) fn dqlite_node_set_block_size(node: *mut Node, bytes: usize) -> c_int
        = "int dqlite_node_set_block_size(dqlite_node *, size_t)";
    /// Whether damaged segments are put aside at start.
    required since (1, 16, 0) fn dqlite_node_set_auto_recovery(node: *mut Node, on: bool) -> c_int
        = "int dqlite_node_set_auto_recovery(dqlite_node *, bool)";
    /// Whether snapshots are compressed; fails where the engine cannot.
    required since (1, 16, 2) fn dqlite_node_set_snapshot_compression(
        node: *mut Node, on: bool
    ) -> c_int
        = "int dqlite_node_set_snapshot_compression(dqlite_node *, bool)";
    /// How long a writer waits in the database's queue.
    optional since (1, 18, 2) fn dqlite_node_set_busy_timeout(
        node: *mut Node, timeout_ms: c_uint
    ) -> c_int
        = "int dqlite_node_set_busy_timeout(dqlite_node *, unsigned)";
    /// Returns when the engine's loop runs.
    required since (1, 0, 0) fn dqlite_node_start(node: *mut Node) -> c_int
        = "int dqlite_node_start(dqlite_node *)";
    /// Joins the engine's thread; not bounded in time.
    required since (1, 0, 0) fn dqlite_node_stop(node: *mut Node) -> c_int
        = "int dqlite_node_stop(dqlite_node *)";
    /// What the last failure was; may be empty, may be asked of a null node.
    required since (1, 0, 0) fn dqlite_node_errmsg(node: *mut Node) -> *const c_char
        = "const char *dqlite_node_errmsg(dqlite_node *)";
}
