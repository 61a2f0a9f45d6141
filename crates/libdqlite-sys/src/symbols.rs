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
    /// The types of result and parameters as C spells them, for comparison with a header.
    pub signature: &'static [&'static str],
}

/// A type of the table as C spells it.
trait Spelt {
    const IN_C: &'static str;
}

macro_rules! spelt {
    ($($type:ty = $text:literal;)*) => {
        $(impl Spelt for $type { const IN_C: &'static str = $text; })*
    };
}

spelt! {
    bool = "bool";
    c_int = "int";
    c_uint = "unsigned";
    u64 = "unsigned long long";
    usize = "size_t";
    *const c_char = "const char *";
    *mut c_void = "void *";
    *mut Node = "dqlite_node *";
    *mut *mut Node = "dqlite_node **";
    ConnectFn = "int (*)(void *, const char *, int *)";
}

macro_rules! result {
    () => {
        "void"
    };
    ($type:ty) => {
        <$type as Spelt>::IN_C
    };
}

macro_rules! symbols {
    (@type required $function:ty) => { $function };
    (@type optional $function:ty) => { Option<$function> };
    (@keep required $found:ident) => { $found? };
    (@keep optional $found:ident) => { $found.ok() };
    ($($(#[$doc:meta])* $need:ident since ($major:literal, $minor:literal, $release:literal)
        fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
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
            signature: &[result!($($result)?), $(<$type as Spelt>::IN_C),*],
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
    required since (1, 0, 0) fn dqlite_version_number() -> c_int;
    /// Makes a node; copies both strings. A node is set on failure, too, and must be destroyed.
    required since (1, 0, 0) fn dqlite_node_create(
        id: NodeId, address: *const c_char, data_dir: *const c_char, node: *mut *mut Node
    ) -> c_int;
    /// Frees a node that was never started, or was stopped.
    required since (1, 0, 0) fn dqlite_node_destroy(node: *mut Node);
    /// Binds at once; mandatory, once.
    required since (1, 0, 0) fn dqlite_node_set_bind_address(
        node: *mut Node, address: *const c_char
    ) -> c_int;
    /// The bound address; how to learn the name of an automatic one.
    required since (1, 0, 0) fn dqlite_node_get_bind_address(node: *mut Node) -> *const c_char;
    /// Replaces the engine's own dialling. Runs on the engine's worker threads.
    required since (1, 0, 0) fn dqlite_node_set_connect_func(
        node: *mut Node, connect: ConnectFn, arg: *mut c_void
    ) -> c_int;
    /// One way; an election follows after 15 to 30 times as much.
    required since (1, 9, 0) fn dqlite_node_set_network_latency_ms(
        node: *mut Node, latency_ms: c_uint
    ) -> c_int;
    /// Reported by DESCRIBE.
    required since (1, 5, 0) fn dqlite_node_set_failure_domain(node: *mut Node, code: u64) -> c_int;
    /// Entries between snapshots, and kept behind one.
    required since (1, 8, 0) fn dqlite_node_set_snapshot_params(
        node: *mut Node, threshold: c_uint, trailing: c_uint
    ) -> c_int;
    /// The same with a strategy for what is kept.
    optional since (1, 18, 2) fn dqlite_node_set_snapshot_params_v2(
        node: *mut Node, threshold: c_uint, trailing: c_uint, strategy: c_int
    ) -> c_int;
    /// Size of the log's writes: a power of two from 512 to 256 KiB.
    required since (1, 15, 0) fn dqlite_node_set_block_size(node: *mut Node, bytes: usize) -> c_int;
    /// Whether damaged segments are put aside at start.
    required since (1, 16, 0) fn dqlite_node_set_auto_recovery(node: *mut Node, on: bool) -> c_int;
    /// Whether snapshots are compressed; fails where the engine cannot.
    required since (1, 16, 2) fn dqlite_node_set_snapshot_compression(
        node: *mut Node, on: bool
    ) -> c_int;
    /// How long a writer waits in the database's queue.
    optional since (1, 18, 2) fn dqlite_node_set_busy_timeout(
        node: *mut Node, timeout_ms: c_uint
    ) -> c_int;
    /// Returns when the engine's loop runs.
    required since (1, 0, 0) fn dqlite_node_start(node: *mut Node) -> c_int;
    /// Joins the engine's thread; not bounded in time.
    required since (1, 0, 0) fn dqlite_node_stop(node: *mut Node) -> c_int;
    /// What the last failure was; may be empty, may be asked of a null node.
    required since (1, 0, 0) fn dqlite_node_errmsg(node: *mut Node) -> *const c_char;
}
