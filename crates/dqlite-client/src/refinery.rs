//! Migrations of the crate `refinery`, on a [`Connection`].
//!
//! Each migration is one transaction, its entry in the history included. So an error of kind
//! `CommitUnknown`, or any other, is answered by running the migrations again: what was applied is
//! found in the history. Migrations must not begin or end transactions themselves, and programs
//! that start at the same time find one of them first: the others get an error of kind Rejected
//! and may run again.
//!
//! ```
//! use dqlite_client::Connection;
//! use refinery_core::{Error, Migration, Runner};
//!
//! # async fn example(connection: &mut Connection) -> Result<(), Error> {
//! // Or `refinery::embed_migrations!("migrations")`, and `migrations::runner()`.
//! let migration = Migration::unapplied("V1__fruit", "CREATE TABLE fruit (name TEXT);")?;
//! let report = Runner::new(&[migration]).run_async(connection).await?;
//! println!("{} applied", report.applied_migrations().len());
//! # Ok(()) }
//! ```

use refinery_core::Migration;
use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::row::Row;

impl AsyncTransaction for Connection {
    type Error = Error;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        scripts: T,
    ) -> Result<usize> {
        let mut transaction = self.transaction().await?;
        let mut executed = 0;
        for script in scripts {
            transaction.execute_batch(script).await?;
            executed += 1;
        }
        transaction.commit().await?;
        Ok(executed)
    }
}

impl AsyncQuery<Vec<Migration>> for Connection {
    async fn query<'a>(&'a mut self, sql: &'a str) -> Result<Vec<Migration>> {
        let rows = Self::query(self, sql, ()).await?;
        rows.iter().map(applied).collect()
    }
}

impl AsyncMigrate for Connection {}

/// An entry of the history.
fn applied(row: &Row) -> Result<Migration> {
    let (version, name): (i32, String) = (row.get(0)?, row.get(1)?);
    let (time, checksum): (String, String) = (row.get(2)?, row.get(3)?);
    let time = OffsetDateTime::parse(&time, &Rfc3339).map_err(|error| Error::unfit(2, &error))?;
    let checksum = checksum.parse().map_err(|error| Error::unfit(3, &error))?;
    Ok(Migration::applied(version, name, time, checksum))
}
