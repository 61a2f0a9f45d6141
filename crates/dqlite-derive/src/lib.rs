//! `#[derive(FromRow)]`: reads a row of a result as a struct, column by column.
//!
//! Use it through the crate `dqlite` or `dqlite-client` with the feature `derive`; it is of no use
//! by itself.

mod attributes;
mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Reads each field from the column of its name.
///
/// | attribute of a field | effect |
/// |---|---|
/// | `#[dqlite(rename = "id")]` | reads another column |
/// | `#[dqlite(default)]` | the default value where the column is missing |
/// | `#[dqlite(skip)]` | always the default value |
/// | `#[dqlite(flatten)]` | the field's type reads the same row |
/// | `#[dqlite(try_from = "i64")]` | reads that type and converts it with `TryFrom` |
///
/// | attribute of the struct | effect |
/// |---|---|
/// | `#[dqlite(rename_all = "camelCase")]` | names of columns follow from those of fields |
/// | `#[dqlite(crate = "dqlite_client")]` | the path of the client, which is `::dqlite` else |
///
/// Cases are `camelCase`, `PascalCase`, `lowercase`, `UPPERCASE`, `SCREAMING_SNAKE_CASE` and
/// `kebab-case`. A tuple struct reads its fields by position.
///
/// ```
/// use dqlite_client::FromRow;
/// use dqlite_derive::FromRow;
///
/// #[derive(FromRow)]
/// #[dqlite(crate = "dqlite_client")]
/// struct Person {
///     id: i64,
///     #[dqlite(rename = "full_name")]
///     name: String,
///     nickname: Option<String>,
/// }
///
/// # fn main() {}
/// fn read(row: &dqlite_client::Row) -> dqlite_client::Result<Person> {
///     Person::from_row(row)
/// }
/// ```
#[proc_macro_derive(FromRow, attributes(dqlite))]
pub fn derive_from_row(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::from_row(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
