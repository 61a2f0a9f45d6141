//! What a server can do beyond the protocol, said where only we look.
//!
//! A server answers CLIENT with WELCOME, whose one number is a heartbeat time that clients have
//! ignored for years. Stock servers say 15000. Our gateway keeps that in the lower half and puts a
//! mark and its capabilities into the upper half:
//!
//! ```text
//!  63           48 47           32 31                            0
//! +---------------+---------------+-------------------------------+
//! |    0x6471     |  capabilities |   heartbeat time in ms        |
//! +---------------+---------------+-------------------------------+
//! ```

/// The heartbeat time of every server.
pub const HEARTBEAT_MS: u32 = 15_000;

const MARK: u64 = 0x6471;
const INTERRUPT: u16 = 1;

/// What a server offers beyond the stock protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u16);

impl Capabilities {
    /// What our gateway offers.
    pub const OURS: Self = Self(INTERRUPT);

    /// Reads the number of a WELCOME; a stock server offers nothing.
    ///
    /// ```
    /// use dqlite_proto::Capabilities;
    /// assert!(!Capabilities::from_welcome(15_000).interrupts());
    /// assert!(Capabilities::from_welcome(Capabilities::OURS.to_welcome()).interrupts());
    /// ```
    pub const fn from_welcome(heartbeat: u64) -> Self {
        let [_, _, _, _, low, high, ..] = heartbeat.to_le_bytes();
        if heartbeat >> 48 == MARK {
            Self(u16::from_le_bytes([low, high]))
        } else {
            Self(0)
        }
    }

    /// The number for a WELCOME.
    pub const fn to_welcome(self) -> u64 {
        MARK << 48 | (self.0 as u64) << 32 | HEARTBEAT_MS as u64
    }

    /// INTERRUPT ends the statements that were sent before it, each in its place in the order of
    /// replies, and is itself answered after them.
    pub const fn interrupts(self) -> bool {
        self.0 & INTERRUPT != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_marked_number_carries_capabilities() {
        assert_eq!(Capabilities::from_welcome(u64::MAX), Capabilities(0));
        assert_eq!(Capabilities::from_welcome(0), Capabilities(0));
        let unknown = Capabilities(0xfffe);
        assert_eq!(Capabilities::from_welcome(unknown.to_welcome()), unknown);
        assert!(!unknown.interrupts());
    }
}
