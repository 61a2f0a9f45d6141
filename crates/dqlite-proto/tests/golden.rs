//! Our bytes against bytes captured from servers of all classes, 1.11 to 1.18.

mod support;

use std::fmt::Write as _;
use std::sync::Arc;

use dqlite_proto::message::Asked;
use dqlite_proto::{
    Bytes, Columns, File, Header, Limits, Params, ProtocolError, Request, RequestKind, Response,
    Role, RowsFrame, Value, ValueRef,
};
use serde_json::{Value as Json, json};
use support::{Block, blocks, unhex};

impl Block {
    fn json(&self) -> Json {
        serde_json::from_str(self.key("json")).expect("a block with json")
    }

    fn schema(&self) -> u8 {
        self.key("schema").parse().unwrap_or(0)
    }

    fn is_request(&self) -> bool {
        self.key("dir") == "c2s"
    }

    fn is_malformed(&self) -> bool {
        self.key("message") == "(malformed)"
    }
}

/// Requests that only others send: their bytes are decoded, not reproduced.
const NOT_OURS: [&str; 3] = ["query_sql/explicit_n0", "query_sql/tag9", "exec_sql/tag9"];

fn requests() -> impl Iterator<Item = Block> {
    blocks().into_iter().filter(|block| {
        let frame = !matches!(
            block.key("message"),
            "HANDSHAKE" | "(several)" | "(unknown)"
        );
        block.is_request() && frame && !block.is_malformed()
    })
}

fn replies() -> impl Iterator<Item = Block> {
    blocks()
        .into_iter()
        .filter(|block| !block.is_request() && !block.is_malformed())
}

fn split(bytes: &[u8]) -> (Header, &[u8]) {
    let (header, body) = bytes.split_first_chunk().expect("a header");
    let header = Header::decode(*header);
    assert_eq!(header.body_bytes(), body.len() as u64);
    (header, body)
}

/// Builds the request that a block describes and hands it on.
fn with_request<T>(block: &Block, then: impl FnOnce(&Request<'_>) -> T) -> Option<T> {
    let json = block.json();
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| json[key].as_u64().expect("a number");
    let (sql, name, vfs, address) = (text("sql"), text("name"), text("vfs"), text("address"));
    let params = params(&json)?;
    let params = params.as_ref();
    let statement = || u32::try_from(number("stmt")).expect("a statement id");
    let request = match block.key("message") {
        "LEADER" => Request::Leader,
        "CLIENT" => Request::Client { id: number("id") },
        "HEARTBEAT" => Request::Heartbeat {
            timestamp: number("timestamp"),
        },
        "OPEN" => Request::Open {
            name: &name,
            flags: number("flags"),
            vfs: &vfs,
        },
        "PREPARE" => Request::Prepare { sql: &sql },
        "EXEC" => Request::Exec {
            statement: statement(),
            params,
        },
        "QUERY" => Request::Query {
            statement: statement(),
            params,
        },
        "FINALIZE" => Request::Finalize {
            statement: statement(),
        },
        "EXEC_SQL" => Request::ExecSql { sql: &sql, params },
        "QUERY_SQL" => Request::QuerySql { sql: &sql, params },
        "INTERRUPT" => Request::Interrupt,
        "CONNECT" => Request::Connect {
            id: number("id"),
            address: &address,
        },
        "ADD" => Request::Add {
            id: number("id"),
            address: &address,
        },
        "ASSIGN" => {
            let role = Role::from_wire(number("role")).expect("a role");
            Request::Assign {
                id: number("id"),
                role,
            }
        }
        "PROMOTE" => Request::Promote { id: number("id") },
        "REMOVE" => Request::Remove { id: number("id") },
        "DUMP" => Request::Dump { name: &name },
        "CLUSTER" => Request::Cluster {
            format: number("format"),
        },
        "TRANSFER" => Request::Transfer { id: number("id") },
        "DESCRIBE" => Request::Describe {
            format: number("format"),
        },
        "WEIGHT" => Request::Weight {
            weight: number("weight"),
        },
        other => panic!("message {other}"),
    };
    Some(then(&request))
}

#[test]
fn requests_are_encoded_to_the_captured_bytes() {
    let mut count = 0;
    for block in requests().filter(|block| !NOT_OURS.contains(&block.name.as_str())) {
        let bytes = with_request(&block, |request| {
            let mut bytes = Vec::new();
            request
                .encode(block.schema(), &mut bytes)
                .expect("a request of ours");
            assert_eq!(
                request.body_size(block.schema()) + 8,
                bytes.len(),
                "{}",
                block.name
            );
            bytes
        });
        assert_eq!(bytes.as_ref(), Some(&block.bytes), "{}", block.name);
        count += 1;
    }
    assert!(count >= 100, "{count} requests");
}

#[test]
fn captured_requests_decode_to_what_they_say() {
    for block in requests().filter(|block| !block.name.ends_with("/tag9")) {
        let (header, body) = split(&block.bytes);
        let decoded = Request::decode(header, body).expect(&block.name);
        with_request(&block, |request| {
            assert_eq!(decoded.kind(), request.kind());
            // A tuple of no values and no tuple are the same request.
            if block.name != "query_sql/explicit_n0" {
                let mut bytes = Vec::new();
                decoded
                    .encode(header.schema, &mut bytes)
                    .expect("a decoded request");
                assert_eq!(bytes, block.bytes, "{}", block.name);
            }
        });
    }
}

#[test]
fn requests_cut_anywhere_are_refused_and_never_misread() {
    for block in requests() {
        let (header, body) = split(&block.bytes);
        for cut in 0..body.len() {
            let read = Request::decode(header, &body[..cut]);
            let whole = Request::decode(header, body);
            // A text can lose padding behind its tuple only by losing the tuple: then fewer
            // parameters remain. Nothing else may be read from less than the whole.
            if let (Ok(read), Ok(whole)) = (read, whole) {
                assert_eq!(read.kind(), whole.kind(), "{} cut at {cut}", block.name);
                let with_tuple =
                    matches!(header.kind, 5 | 6 | 8 | 9) || header.kind == RequestKind::ASSIGN.0;
                assert!(with_tuple, "{} cut at {cut}", block.name);
            }
        }
    }
}

fn asked<'a>(block: &Block, limits: &'a Limits) -> Asked<'a> {
    let mut asked = Asked::new(limits);
    asked.legacy = block.name == "server/legacy";
    asked.roles = block.name != "servers/v0_one" && block.name != "servers/v0_two";
    asked
}

fn decode(block: &Block) -> Result<Response, ProtocolError> {
    let (header, body) = split(&block.bytes);
    let limits = Limits::default();
    let response = Response::decode(
        header,
        &Bytes::copy_from_slice(body),
        &asked(block, &limits),
    )?;
    // Values are decoded by whoever reads them; do that, too.
    if let Response::Rows(frame) = &response {
        let malformed = |error| ProtocolError::Malformed {
            kind: response.kind(),
            error,
        };
        let mut rows = frame.rows();
        while let Some(row) = rows.next_row().map_err(malformed)? {
            for value in row {
                value.map_err(malformed)?;
            }
        }
    }
    Ok(response)
}

fn same_value(json: &Json, got: ValueRef<'_>) -> bool {
    value(json).as_ref() == got
}

fn check_rows(name: &str, json: &Json, frame: &RowsFrame) {
    let names: Vec<_> = json["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .collect();
    assert_eq!(
        names,
        frame.columns().names().iter().collect::<Vec<_>>(),
        "{name}"
    );
    assert_eq!(json["last"], json!(frame.is_done()), "{name}");
    let rows = json["rows"].as_array().cloned().unwrap_or_else(|| {
        let times = usize::try_from(json["repeat"].as_u64().expect("repeat")).expect("few");
        vec![json["row"].clone(); times]
    });
    let mut cursor = frame.rows();
    let mut values = Vec::new();
    for row in &rows {
        assert!(
            cursor.next_into(&mut values).expect(name),
            "{name}: a row is missing"
        );
        let row = row.as_array().expect("a row");
        assert_eq!(row.len(), values.len(), "{name}");
        for (json, value) in row.iter().zip(&values) {
            assert!(same_value(json, *value), "{name}: {json} is not {value:?}");
        }
    }
    assert!(
        !cursor.next_into(&mut values).expect(name),
        "{name}: a row too many"
    );
}

fn describe(response: &Response) -> Json {
    match response {
        Response::Failure(failure) => {
            json!({"code": failure.code.0, "message": failure.message})
        }
        Response::Server { id, address } => json!({"id": id, "address": address}),
        Response::ServerLegacy { address } => json!({"address": address}),
        Response::Welcome {
            heartbeat_timeout_ms,
        } => {
            json!({"heartbeat_timeout": heartbeat_timeout_ms})
        }
        Response::Servers(nodes) => {
            let nodes: Vec<_> = nodes
                .iter()
                .map(|node| {
                    json!({"id": node.id, "address": node.address, "role": node.role.to_wire()})
                })
                .collect();
            json!({"servers": nodes})
        }
        Response::Addresses(nodes) => {
            let nodes: Vec<_> = nodes
                .iter()
                .map(|(id, address)| json!({"id": id, "address": address}))
                .collect();
            json!({"servers": nodes})
        }
        Response::Db { id } => json!({"db": id}),
        Response::Stmt {
            id,
            params,
            tail: None,
        } => {
            json!({"db": 0, "id": id, "params": params})
        }
        Response::Stmt {
            id,
            params,
            tail: Some(tail),
        } => {
            json!({"db": 0, "id": id, "params": params, "tail": tail})
        }
        Response::Result {
            last_insert_id,
            rows_affected,
        } => {
            json!({"last_insert_id": last_insert_id, "rows_affected": rows_affected})
        }
        Response::Empty => json!({}),
        Response::Files(files) => {
            json!({"files": files.iter().map(describe_file).collect::<Vec<_>>()})
        }
        Response::Metadata(metadata) => {
            json!({"failure_domain": metadata.failure_domain, "weight": metadata.weight})
        }
        Response::Rows(_) => json!(null),
    }
}

fn describe_file(file: &File) -> Json {
    let mut json = json!({"name": file.name, "size": file.content.len()});
    if !file.content.is_empty() {
        let mut hex = String::new();
        for byte in &file.content {
            write!(hex, "{byte:02x}").expect("a string takes all");
        }
        json["hex"] = json!(hex);
    }
    json
}

#[test]
fn captured_replies_decode_to_what_they_say() {
    let mut count = 0;
    for block in replies() {
        let response = decode(&block).unwrap_or_else(|error| panic!("{}: {error}", block.name));
        let mut json = block.json();
        if let Response::Rows(frame) = &response {
            check_rows(&block.name, &json, frame);
        } else {
            json.as_object_mut()
                .expect("an object")
                .remove("prefix_words");
            assert_eq!(describe(&response), json, "{}", block.name);
        }
        count += 1;
    }
    assert!(count >= 70, "{count} replies");
}

#[test]
fn replies_are_encoded_to_the_captured_bytes() {
    // What the engine leaves in padding, and what it puts before a failure, is not ours to repeat.
    for block in replies().filter(|block| block.name != "rows/dirty_blob_padding") {
        if block.json().get("prefix_words").is_some() {
            continue;
        }
        let mut bytes = Vec::new();
        decode(&block).expect(&block.name).encode(&mut bytes);
        assert_eq!(bytes, block.bytes, "{}", block.name);
    }
}

#[test]
fn rows_can_be_built_from_values() {
    for block in replies().filter(|block| block.key("message") == "ROWS") {
        let Ok(Response::Rows(frame)) = decode(&block) else {
            panic!("{}", block.name)
        };
        let mut rows = Vec::new();
        let mut cursor = frame.rows();
        while let Some(row) = cursor.next_row().expect("a row") {
            rows.push(row.map(|value| value.expect("a value")).collect::<Vec<_>>());
        }
        let columns = Arc::new(Columns::new(frame.columns().names()));
        let built = RowsFrame::build(columns, &rows, frame.is_done());
        let mut bytes = Vec::new();
        Response::Rows(built).encode(&mut bytes);
        if block.name != "rows/dirty_blob_padding" {
            assert_eq!(bytes, block.bytes, "{}", block.name);
        }
    }
}

#[test]
fn malformed_replies_fail_as_stated() {
    let mut count = 0;
    for block in blocks()
        .into_iter()
        .filter(|block| !block.is_request() && block.is_malformed())
    {
        let (header, body) = block.bytes.split_first_chunk().expect("a header");
        let header = Header::decode(*header);
        let limits = Limits::default();
        let result = match header.check(limits.reply_bytes_max as u64) {
            Ok(()) => {
                assert_eq!(header.body_bytes(), body.len() as u64, "{}", block.name);
                decode(&block)
            }
            Err(error) => Err(error.into()),
        };
        let error = result.expect_err(&block.name);
        let empty_part = error == ProtocolError::EmptyPart;
        assert_eq!(
            empty_part,
            block.key("error") == "empty-part",
            "{}: {error}",
            block.name
        );
        count += 1;
    }
    assert!(count >= 20, "{count} malformed replies");
}

#[test]
fn bodies_cut_or_shifted_anywhere_never_panic() {
    for block in blocks().into_iter().filter(|block| !block.is_request()) {
        let (header, body) = block.bytes.split_first_chunk().expect("a header");
        let header = Header::decode(*header);
        let limits = Limits::default();
        for cut in 0..body.len() {
            for part in [&body[..cut], &body[cut..]] {
                let part = Bytes::copy_from_slice(part);
                let response = Response::decode(header, &part, &asked(&block, &limits));
                let Ok(Response::Rows(frame)) = response else {
                    continue;
                };
                let mut values = Vec::new();
                let mut rows = frame.rows();
                while let Ok(true) = rows.next_into(&mut values) {}
            }
        }
    }
}

#[test]
fn malformed_requests_do_not_decode() {
    // The engine's own limits on content are the guard's business; here only layout counts.
    let content = ["bad/describe_format1", "bad/dead_statement"];
    for block in blocks()
        .into_iter()
        .filter(|block| block.is_request() && block.is_malformed())
    {
        let (header, body) = block.bytes.split_first_chunk().expect("a header");
        let header = Header::decode(*header);
        if block.name.ends_with("_then_select") || content.contains(&block.name.as_str()) {
            continue;
        }
        let refused = header.check(64 << 20).is_err() || Request::decode(header, body).is_err();
        assert!(refused, "{}", block.name);
    }
}

/// A value as the blocks write it, as bytes: `["i", 42]`.
fn value(json: &Json) -> OwnedValue {
    let number = || match &json[1] {
        Json::String(word) if word == "inf" => f64::INFINITY,
        Json::String(word) if word == "-inf" => f64::NEG_INFINITY,
        number => number.as_f64().expect("a float"),
    };
    let text = || json[1].as_str().expect("a text").to_owned();
    let signed = || json[1].as_i64().expect("an integer");
    match json[0].as_str().expect("a tag") {
        "i" => Value::Integer(signed()).into(),
        "f" => Value::Float(number()).into(),
        "s" => Value::Text(text()).into(),
        "s_hex" => OwnedValue::RawText(unhex(&text())),
        "b" => Value::Blob(unhex(&text())).into(),
        "n" => Value::Null.into(),
        "u" => Value::UnixTime(signed()).into(),
        "d" => Value::Iso8601(text()).into(),
        "t" => Value::Boolean(json[1].as_u64().expect("a boolean")).into(),
        tag => panic!("tag {tag}"),
    }
}

/// A value, or a text that is not UTF-8.
#[derive(Debug, Clone)]
enum OwnedValue {
    Value(Value),
    RawText(Vec<u8>),
}

impl From<Value> for OwnedValue {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl OwnedValue {
    fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Value(value) => value.as_ref(),
            Self::RawText(text) => ValueRef::Text(text),
        }
    }
}

/// The parameters of a request block. `None` if one of them cannot be sent by us.
fn params(json: &Json) -> Option<Params> {
    let mut params = Params::new();
    for json in json["params"].as_array().into_iter().flatten() {
        params.push(value(json).as_ref()).ok()?;
    }
    Some(params)
}
