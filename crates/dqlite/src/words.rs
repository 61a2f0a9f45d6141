//! The words of options, as types.

/// Defines an enumeration whose members stand for words.
macro_rules! words {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($(#[$about:meta])* $member:ident = $word:literal,)* }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            pub enum $name {
                $($(#[$about])* $member,)*
            }

            impl $name {
                /// All of them, in the order of their words.
                #[cfg(test)]
                pub(crate) const ALL: &[Self] = &[$(Self::$member),*];

                /// The word, as Python and the control channel spell it.
                pub const fn as_str(self) -> &'static str {
                    match self {
                        $(Self::$member => $word,)*
                    }
                }
            }
        )*
    };
}

words! {
    /// What an empty directory means, for a node that is told of others.
    InitialState {
        /// The first of the list founds the cluster, when all others are up and new, too.
        Auto = "auto",
        /// This is a new cluster: the first of the list founds it although others are down.
        New = "new",
        /// There is a cluster: this node joins it, and never founds one.
        Existing = "existing",
    }

    /// What the second of exactly two members is.
    TwoNode {
        /// It has the data, and no vote: the first goes on without it.
        StandBy = "standby",
        /// It has neither.
        Spare = "spare",
        /// It has both: nothing is written while either is down.
        Voters = "voters",
    }

    /// What a member of several voters does whose own data is damaged.
    OnDamage {
        /// It moves the data aside and joins again, if the others have a leader.
        Rejoin = "rejoin",
        /// It does not start.
        Fail = "fail",
    }

    /// Which log entries stay behind a snapshot.
    TrailingStrategy {
        /// As many as `snapshot_trailing` says.
        Static = "static",
        /// No more than the snapshot weighs.
        Dynamic = "dynamic",
    }

    /// The oldest version of TLS that a node speaks.
    TlsVersion {
        /// For old peers only.
        Tls12 = "1.2",
        /// The usual one.
        Tls13 = "1.3",
    }

    /// How grave something must be to be logged.
    LogLevel {
        /// What went wrong for good.
        Error = "error",
        /// What an operator should know.
        Warn = "warn",
        /// What changed.
        Info = "info",
        /// What was decided, and why.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}
