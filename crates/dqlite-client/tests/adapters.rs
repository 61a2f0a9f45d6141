//! What other crates bring, on a real engine: pools of deadpool, migrations of refinery, streams.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::time::{Duration, Instant};

use dqlite_client::deadpool::{Manager, Pool};
use dqlite_client::{Address, Config, ErrorKind, connect};
use dqlite_testkit::stock::{StockNode, StockOptions};
use futures_util::{StreamExt, TryStreamExt};
use refinery_core::{Migration, Runner, Target};

const LONG: Duration = Duration::from_secs(20);
const NUMBERS: &str = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) \
                       SELECT n FROM c";

fn node() -> (StockNode, Config) {
    let node = StockNode::start(&StockOptions::default()).unwrap();
    let config = Config::new([Address::parse(&node.address).unwrap()])
        .with_timeout(LONG)
        .with_connect_timeout(LONG);
    (node, config)
}

#[tokio::test]
async fn a_pool_of_deadpool_lends_clean_connections() {
    let (node, config) = node();
    let manager = Manager::new(&config);
    let pool = Pool::builder(manager).max_size(2).build().unwrap();
    let mut first = pool.get().await.unwrap();
    first
        .execute("CREATE TABLE t (n INTEGER)", ())
        .await
        .unwrap();
    // Left with a transaction and a reply unfinished.
    first.execute("BEGIN", ()).await.unwrap();
    first.execute("INSERT INTO t VALUES (1)", ()).await.unwrap();
    drop(first);
    let mut second = pool.get().await.unwrap();
    let row = second
        .query_one("SELECT count(*) FROM t", ())
        .await
        .unwrap();
    assert_eq!(row.get::<i64>(0).unwrap(), 0);
    second
        .execute("INSERT INTO t VALUES (2)", ())
        .await
        .unwrap();
    drop(second);
    assert_eq!((pool.status().size, pool.status().available), (1, 1));

    // The server closes everything: nobody is lent what is lost.
    node.kill().unwrap();
    let error = tokio::time::timeout(LONG * 2, pool.get())
        .await
        .unwrap()
        .unwrap_err();
    let deadpool::managed::PoolError::Backend(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.kind(), ErrorKind::NoLeader);
    assert_eq!(pool.status().size, 0);
}

#[tokio::test]
async fn migrations_of_refinery_are_applied_once() {
    let (_node, config) = node();
    let mut connection = connect(&config).await.unwrap();
    let migration = |name, sql| Migration::unapplied(name, sql).unwrap();
    let script = "CREATE TABLE fruit (name TEXT); INSERT INTO fruit VALUES ('pear; apple');";
    let mut migrations = vec![migration("V1__fruit", script)];
    let runner = Runner::new(&migrations);
    let report = runner.run_async(&mut connection).await.unwrap();
    assert_eq!(report.applied_migrations().len(), 1);
    let report = runner.run_async(&mut connection).await.unwrap();
    assert_eq!(report.applied_migrations().len(), 0);

    // One that fails leaves nothing, those before it stay.
    migrations.push(migration(
        "V2__price",
        "ALTER TABLE fruit ADD COLUMN price REAL",
    ));
    migrations.push(migration("V3__wrong", "DELETE FROM fruit; SELECT FROM"));
    let error = Runner::new(&migrations)
        .run_async(&mut connection)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("V3__wrong"), "{error}");
    let rows = connection
        .query("SELECT name, price FROM fruit", ())
        .await
        .unwrap();
    assert_eq!(rows[0].get::<String>(0).unwrap(), "pear; apple");
    let runner = Runner::new(&migrations[..2]).set_target(Target::Latest);
    let applied = runner
        .get_applied_migrations_async(&mut connection)
        .await
        .unwrap();
    let names: Vec<&str> = applied.iter().map(Migration::name).collect();
    assert_eq!(names, ["fruit", "price"]);
    let last = runner
        .get_last_applied_migration_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(last.unwrap().checksum(), migrations[1].checksum());

    // Two programs that start at the same time: each may run again, and it happens once.
    let more = [
        migration("V1__fruit", script),
        migration("V4__more", "CREATE TABLE more (x)"),
    ];
    let start = async || {
        let mut connection = connect(&config).await.unwrap();
        let runner = Runner::new(&more).set_abort_missing(false);
        let deadline = Instant::now() + LONG;
        while let Err(error) = runner.run_async(&mut connection).await {
            // A stock engine does not wait for the lock.
            assert!(Instant::now() < deadline, "{error:?}");
        }
    };
    futures_util::join!(start(), start());
}

#[tokio::test]
async fn rows_stream_with_back_pressure_and_may_be_left() {
    let (_node, config) = node();
    let mut connection = connect(&config).await.unwrap();
    let hundred = format!("{NUMBERS} LIMIT 100000");
    let rows = connection.query_stream(&hundred, ()).await.unwrap();
    let numbers = rows.into_stream().and_then(async |row| row.get::<i64>(0));
    let sum = numbers
        .try_fold(0, async |sum, n| Ok(sum + n))
        .await
        .unwrap();
    assert_eq!(sum, 100_000 * 100_001 / 2);

    // A result without end: what nobody polls for is not read.
    let rows = connection
        .query_stream(&format!("{NUMBERS} LIMIT 1000000"), ())
        .await
        .unwrap();
    let firsts = rows
        .into_stream()
        .take(3)
        .map(|row| row.unwrap().get::<i64>(0).unwrap());
    assert_eq!(firsts.collect::<Vec<_>>().await, [1, 2, 3]);
    let row = connection.query_one("SELECT 7", ()).await.unwrap();
    assert_eq!(row.get::<i64>(0).unwrap(), 7);

    // An error ends it.
    let wrong = "SELECT abs(n) FROM (SELECT 1 AS n UNION ALL SELECT -9223372036854775807 - 1)";
    let ends: Vec<_> = {
        match connection.query_stream(wrong, ()).await {
            Ok(rows) => rows.into_stream().collect().await,
            Err(error) => vec![Err(error)],
        }
    };
    let error = ends.last().unwrap().as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    let row = connection.query_one("SELECT 8", ()).await.unwrap();
    assert_eq!(row.get::<i64>(0).unwrap(), 8);
}
