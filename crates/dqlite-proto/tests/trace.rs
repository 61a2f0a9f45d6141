//! Captures as text.

use dqlite_proto::trace::{Direction, Trace};
use dqlite_proto::{Bytes, Columns, Params, Request, Response, RowsFrame, ValueRef};

fn lines(direction: Direction, capture: &[u8], rows_shown: usize) -> Vec<String> {
    let capture = Bytes::copy_from_slice(capture);
    Trace::new(direction, capture, rows_shown)
        .map(|entry| entry.to_string())
        .collect()
}

fn requests() -> Vec<u8> {
    let mut params = Params::new();
    for value in [
        ValueRef::Integer(-1),
        ValueRef::Text("né".as_bytes()),
        ValueRef::Blob(&[0, 255]),
    ] {
        params.push(value).expect("it fits");
    }
    let mut capture = 1_u64.to_le_bytes().to_vec();
    let sql = "INSERT INTO t VALUES(?, ?, ?)";
    for request in [
        Request::open("app"),
        Request::ExecSql {
            sql,
            params: params.as_ref(),
        },
        Request::Assign {
            id: 7,
            role: dqlite_proto::Role::StandBy,
        },
    ] {
        request.encode(0, &mut capture).expect("it fits");
    }
    capture
}

#[test]
fn requests_read_as_what_they_ask() {
    let capture = requests();
    assert_eq!(Direction::guess(&capture), Direction::Requests);
    assert_eq!(
        lines(Direction::Requests, &capture, 10),
        [
            "       0  handshake version=1",
            "       8  OPEN name=\"app\"",
            concat!(
                "      40  EXEC_SQL sql=\"INSERT INTO t VALUES(?, ?, ?)\"",
                " params=[-1, \"né\", x'00ff']"
            ),
            "     128  ASSIGN id=7 role=stand-by",
        ]
    );
}

#[test]
fn rows_are_written_out_up_to_a_limit() {
    let columns = Columns::new(&["id", "name"]).into();
    let rows: Vec<_> = (1..=3)
        .map(|id| vec![ValueRef::Integer(id), ValueRef::Null])
        .collect();
    let mut capture = Vec::new();
    Response::Rows(RowsFrame::build(columns, &rows, true)).encode(&mut capture);
    assert_eq!(Direction::guess(&capture), Direction::Replies);
    assert_eq!(
        lines(Direction::Replies, &capture, 2).join("\n"),
        "       0  ROWS columns=[\"id\", \"name\"] rows=3 DONE\n            \
         1 | NULL\n            2 | NULL\n            and 1 more"
    );
}

#[test]
fn a_capture_cut_anywhere_says_where_it_ends() {
    let capture = requests();
    for end in 0..capture.len() {
        let told = lines(Direction::Requests, &capture[..end], 10);
        let whole = [0, 8, 40, 128].contains(&end);
        let cut = told.last().is_some_and(|line| line.contains("cut off"));
        assert_eq!(cut, !whole, "cut at {end}: {told:?}");
    }
}

#[test]
fn a_malformed_message_is_passed_over() {
    let mut capture = vec![1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    Response::Empty.encode(&mut capture);
    let told = lines(Direction::Replies, &capture, 10);
    assert!(told[0].contains("STMT malformed"), "{told:?}");
    assert_eq!(told[1], "      16  EMPTY");
}

#[test]
fn a_capture_may_begin_behind_the_handshake() {
    let mut capture = Vec::new();
    for request in [Request::Leader, Request::open("app")] {
        request.encode(0, &mut capture).expect("it fits");
    }
    let leader = "       0  LEADER";
    assert_eq!(
        lines(Direction::Requests, &capture, 10),
        [leader, "      16  OPEN name=\"app\""]
    );
    assert_eq!(lines(Direction::Requests, &capture[..16], 10), [leader]);
    assert_eq!(
        lines(Direction::Requests, &capture[16..], 10),
        ["       0  OPEN name=\"app\""]
    );
}
