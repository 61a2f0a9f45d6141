//! Which Arrow type a column has: asked for, or that of its cells.

use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit};

/// The type of a column in a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No cell has a value.
    Null,
    /// 0 and 1 of a BOOLEAN column.
    Bool,
    /// Integers.
    Int64,
    /// Floats, or integers among them.
    Float64,
    /// Text.
    Utf8,
    /// Bytes.
    Binary,
    /// Text of a time column that names days only.
    Date,
    /// Text of a time column, in microseconds; `utc` if every cell names its offset.
    Stamp { utc: bool },
    /// Seconds since 1970.
    Seconds,
}

impl Kind {
    /// The type as Arrow calls it.
    pub(super) fn data_type(self) -> DataType {
        let utc = || Some(Arc::from("UTC"));
        match self {
            Self::Null => DataType::Null,
            Self::Bool => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Utf8 => DataType::LargeUtf8,
            Self::Binary => DataType::LargeBinary,
            Self::Date => DataType::Date32,
            Self::Stamp { utc: true } => DataType::Timestamp(TimeUnit::Microsecond, utc()),
            Self::Stamp { utc: false } => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Seconds => DataType::Timestamp(TimeUnit::Second, utc()),
        }
    }

    /// The type that holds the cells of both, if there is one.
    pub(super) fn with(self, other: Self) -> Option<Self> {
        use Kind::{Binary, Bool, Date, Float64, Int64, Null, Seconds, Stamp, Utf8};
        Some(match (self, other) {
            (one, same) if one == same => one,
            (Null, one) | (one, Null) => one,
            (Bool, Int64) | (Int64, Bool) => Int64,
            (Bool | Int64, Float64) | (Float64, Bool | Int64) => Float64,
            (Date, Stamp { utc: false }) | (Stamp { utc: false }, Date) => Stamp { utc: false },
            (Date | Stamp { .. } | Utf8, Date | Stamp { .. } | Utf8) => Utf8,
            (Seconds, Stamp { utc: true }) | (Stamp { utc: true }, Seconds) => Stamp { utc: true },
            (Bool | Int64 | Float64 | Utf8 | Binary | Date | Stamp { .. } | Seconds, _) => {
                return None;
            }
        })
    }

    /// The word for it in messages.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Utf8 => "utf8",
            Self::Binary => "binary",
            Self::Date => "date32",
            Self::Stamp { .. } | Self::Seconds => "timestamp",
        }
    }
}

/// A type that the caller asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// This one.
    Exactly(Known),
    /// Microseconds, in UTC if the first cells name their offsets.
    Timestamp,
}

/// The types that need no cell to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// 0 and 1.
    Bool,
    /// Integers.
    Int64,
    /// Floats.
    Float64,
    /// Text.
    Utf8,
    /// Bytes.
    Binary,
    /// Days.
    Date,
}

impl Want {
    /// The type of that name.
    pub(crate) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "bool" => Self::Exactly(Known::Bool),
            "int64" => Self::Exactly(Known::Int64),
            "float64" => Self::Exactly(Known::Float64),
            "utf8" => Self::Exactly(Known::Utf8),
            "binary" => Self::Exactly(Known::Binary),
            "date32" => Self::Exactly(Known::Date),
            "timestamp" => Self::Timestamp,
            _ => return None,
        })
    }
}

impl From<Known> for Kind {
    fn from(known: Known) -> Self {
        match known {
            Known::Bool => Self::Bool,
            Known::Int64 => Self::Int64,
            Known::Float64 => Self::Float64,
            Known::Utf8 => Self::Utf8,
            Known::Binary => Self::Binary,
            Known::Date => Self::Date,
        }
    }
}
