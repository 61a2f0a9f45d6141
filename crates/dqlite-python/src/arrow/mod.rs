//! Arrow: results leave as record batches, made straight from wire bytes; tables come in the same
//! way and leave as parameters.
//!
//! ```text
//! cells     the values of one column while they gather, and the array they become
//! kind      which Arrow type a column has
//! gather    rows of a result in lots of bounded size
//! table     what Python sees: tables, schemas, streams
//! import    streams of others
//! source    their cells as parameters
//! load      rows and tables as sets of parameters for inserts
//! ```

mod cells;
mod gather;
mod import;
mod kind;
mod load;
mod source;
mod table;

pub(crate) use gather::{Gatherer, Kept, Wish};
pub(crate) use load::{Encoded, Loader};
pub(crate) use table::{ArrowSchema, ArrowTable, arrow_stream};
