//! Arrow: results leave as record batches, made straight from wire bytes.
//!
//! ```text
//! cells     the values of one column while they gather, and the array they become
//! kind      which Arrow type a column has
//! gather    rows of a result in lots of bounded size
//! table     what Python sees: tables, schemas, streams
//! ```

mod cells;
mod gather;
mod kind;
mod table;

pub(crate) use gather::{Gatherer, Kept, Wish};
pub(crate) use table::{ArrowSchema, ArrowTable, arrow_stream};
