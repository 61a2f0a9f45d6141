//! One node, one table, one row: the program in README.md. Arguments: the node's address.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use dqlite::{Node, params};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let node = Node::builder(address, "data/n1").start()?;
    let mut db = dqlite::connect(&node.client("app")?).await?;

    db.execute(
        "CREATE TABLE IF NOT EXISTS people (id INTEGER PRIMARY KEY, name TEXT)",
        (),
    )
    .await?;
    let done = db
        .execute("INSERT INTO people (name) VALUES (?)", params!["Ada"])
        .await?;

    let mut tx = db.transaction().await?; // rolled back unless committed
    tx.execute("INSERT INTO people (name) VALUES (?)", params!["Grace"])
        .await?;
    tx.commit().await?;

    let sql = "SELECT id, name FROM people WHERE id >= ?";
    for row in db.query(sql, params![done.last_insert_id]).await? {
        println!(
            "hello {}, number {}",
            row.get::<String>("name")?,
            row.get::<i64>("id")?
        );
    }
    node.stop()?;
    Ok(())
}
