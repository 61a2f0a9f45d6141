//! Structs read from rows of a real result.

use dqlite_client::blocking::Connection;
use dqlite_client::{Address, Config, ErrorKind, FromRow as _};
use dqlite_derive::FromRow;
use dqlite_testkit::fake_server::{Act, FakeServer, rows};

#[derive(Debug, FromRow, PartialEq)]
#[dqlite(crate = "dqlite_client", rename_all = "camelCase")]
struct Point {
    at_x: i64,
    #[dqlite(rename = "why")]
    at_y: i64,
    #[dqlite(default)]
    at_z: i64,
    #[dqlite(skip)]
    seen: bool,
    #[dqlite(try_from = "i64")]
    even: Even,
    #[dqlite(flatten)]
    pair: Pair,
}

#[derive(Debug, FromRow, PartialEq)]
#[dqlite(crate = "dqlite_client")]
struct Pair(i64, Option<i64>);

#[derive(Debug, FromRow, PartialEq)]
#[dqlite(crate = "dqlite_client")]
struct Wrapped<T: dqlite_client::FromValue> {
    #[dqlite(rename = "atX")]
    inner: T,
}

#[derive(Debug, PartialEq)]
struct Even(i64);

impl TryFrom<i64> for Even {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<Self, &'static str> {
        if number % 2 == 0 {
            Ok(Self(number))
        } else {
            Err("an odd number")
        }
    }
}

fn row(columns: &'static [&'static str], values: &'static [i64]) -> dqlite_client::Row {
    let server = FakeServer::start(move |call| match call.request {
        dqlite_client::proto::Request::QuerySql {
            sql: "SELECT 1", ..
        } => Act::reply(&rows(columns, &[values], true)),
        _ => call.usual(),
    })
    .expect("a server");
    let config = Config::new([Address::parse(server.address()).expect("an address")]);
    let mut connection = Connection::open(&config).expect("a connection");
    connection.query_one("SELECT 1", ()).expect("a row")
}

#[test]
fn fields_are_read_as_their_attributes_say() {
    let row = row(&["atX", "why", "even"], &[1, 2, 4]);
    let wanted = Point {
        at_x: 1,
        at_y: 2,
        at_z: 0,
        seen: false,
        even: Even(4),
        pair: Pair(1, Some(2)),
    };
    assert_eq!(Point::from_row(&row).unwrap(), wanted);
    assert_eq!(Wrapped::<u8>::from_row(&row).unwrap(), Wrapped { inner: 1 });
}

#[test]
fn errors_name_the_column() {
    let missing = Point::from_row(&row(&["atX"], &[1])).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Usage);
    assert!(missing.to_string().contains("\"why\""), "{missing}");
    let odd = Point::from_row(&row(&["atX", "why", "even"], &[1, 2, 3])).unwrap_err();
    assert_eq!(odd.kind(), ErrorKind::Convert);
    assert_eq!(odd.to_string(), "column \"even\": an odd number");
    let wide = Wrapped::<u8>::from_row(&row(&["atX"], &[300])).unwrap_err();
    assert_eq!(wide.kind(), ErrorKind::Convert);
}
