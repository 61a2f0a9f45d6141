//! The control channel's messages, byte by byte as the other end sees them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use dqlite::control::{
    Answer, App, FromNode, HandedOver, LINE_BYTES_MAX, Member, Missing, Received, Refusal, Role,
    RoleChange, Stage, State, ToNode, Tried, VERSION, read, write,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

fn line<T: Serialize>(message: &T) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes, message).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn parsed<T: DeserializeOwned>(text: &str) -> Received<T> {
    read(&mut text.as_bytes()).unwrap().unwrap()
}

fn message<T: DeserializeOwned>(text: &str) -> T {
    match parsed(text) {
        Received::Message(message) => message,
        Received::Unreadable(why) => panic!("{text}: {}", why.reason),
    }
}

/// The message is written as `expected` says, and read back as itself.
fn golden<T>(it: &T, expected: &Value)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let text = line(it);
    assert!(text.ends_with('\n'));
    assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), expected);
    assert_eq!(&message::<T>(&text), it);
}

#[test]
fn requests_have_the_published_shape() {
    let mut options = Map::new();
    options.insert("address".into(), "127.0.0.1:9001".into());
    let app = App {
        pid: 7,
        name: "python".into(),
        version: "3.11".into(),
    };
    golden(
        &ToNode::Config {
            v: VERSION,
            options,
            app,
        },
        &json!({"type": "config", "v": 1, "options": {"address": "127.0.0.1:9001"},
                "app": {"pid": 7, "name": "python", "version": "3.11"}}),
    );
    golden(
        &ToNode::Stop {
            n: 3,
            handover: true,
            deadline_ms: 9000,
        },
        &json!({"type": "stop", "n": 3, "handover": true, "deadline_ms": 9000}),
    );
    golden(
        &ToNode::Handover {
            n: 4,
            roles: false,
            deadline_ms: 3000,
        },
        &json!({"type": "handover", "n": 4, "roles": false, "deadline_ms": 3000}),
    );
    golden(
        &ToNode::Set {
            n: 5,
            log_level: Some("debug".into()),
            trace_sql: None,
            slow_statement_ms: None,
            leader_probe_limit: None,
        },
        &json!({"type": "set", "n": 5, "log_level": "debug"}),
    );
    golden(
        &ToNode::ReloadTls { n: 6 },
        &json!({"type": "reload_tls", "n": 6}),
    );
}

#[test]
fn events_have_the_published_shape() {
    golden(
        &FromNode::State {
            from: State::Joining,
            to: State::CatchingUp,
            why: "added".into(),
            missing: vec![Missing {
                address: "h:1".into(),
                reason: "connection refused".into(),
            }],
        },
        &json!({"type": "state", "from": "joining", "to": "catching-up", "why": "added",
                "missing": [{"address": "h:1", "reason": "connection refused"}]}),
    );
    golden(
        &FromNode::Fatal {
            stage: Stage::DataDir,
            code: "not_writable".into(),
            text: "no".into(),
            tried: vec![Tried {
                place: "/x".into(),
                reason: "absent".into(),
            }],
            restart: false,
        },
        &json!({"type": "fatal", "stage": "data_dir", "code": "not_writable", "text": "no",
                "tried": [{"place": "/x", "reason": "absent"}], "restart": false}),
    );
    golden(
        &FromNode::Warn {
            code: "disk_low".into(),
            text: "disk is low".into(),
            fields: Map::from_iter([("free_bytes".to_owned(), json!(1))]),
        },
        &json!({"type": "warn", "code": "disk_low", "text": "disk is low", "free_bytes": 1}),
    );
    golden(
        &FromNode::RolesAdjusted {
            changes: vec![RoleChange {
                id: 2,
                from: Role::Spare,
                to: Role::StandBy,
                rule: "A1".into(),
                why: "seat free".into(),
            }],
            failed: vec![],
        },
        &json!({"type": "roles_adjusted", "failed": [], "changes": [{"id": "2", "from": "spare",
                "to": "standby", "rule": "A1", "why": "seat free"}]}),
    );
}

#[test]
fn ids_travel_as_decimal_strings() {
    let id = u64::MAX;
    let text = "18446744073709551615";
    golden(
        &FromNode::Identity {
            id,
            address: "h:1".into(),
            bootstrapped: false,
            replaced: Some(id),
        },
        &json!({"type": "identity", "id": text, "address": "h:1", "bootstrapped": false,
                "replaced": text}),
    );
    golden(
        &FromNode::Members {
            list: vec![Member {
                id,
                address: "h:1".into(),
                role: Role::Voter,
            }],
            changed: vec![id],
        },
        &json!({"type": "members", "list": [{"id": text, "address": "h:1", "role": "voter"}],
                "changed": [text]}),
    );
    for wrong in [
        "1",
        "\"-1\"",
        "\"18446744073709551616\"",
        "\"\"",
        "\"0x1\"",
        "null",
    ] {
        let text = format!("{{\"type\":\"leader\",\"id\":{wrong},\"address\":\"\"}}\n");
        let Received::Unreadable(_) = parsed::<FromNode>(&text) else {
            panic!("{wrong} was taken for an id");
        };
    }
}

#[test]
fn answers_are_either_ok_or_error() {
    let moved = HandedOver {
        moved: true,
        leader: Some("h:1".into()),
    };
    golden(
        &FromNode::Reply {
            n: 1,
            answer: Answer::Ok(serde_json::to_value(moved).unwrap()),
        },
        &json!({"type": "reply", "n": 1, "ok": {"moved": true, "leader": "h:1"}}),
    );
    let refusal = Refusal {
        code: "no_voter".into(),
        text: "no other voter online".into(),
    };
    golden(
        &FromNode::Reply {
            n: 1,
            answer: Answer::Error(refusal),
        },
        &json!({"type": "reply", "n": 1,
                "error": {"code": "no_voter", "text": "no other voter online"}}),
    );
}

#[test]
fn unknown_fields_are_ignored_and_unknown_types_are_named() {
    let text = "{\"type\":\"ready\",\"ms\":1,\"colour\":\"blue\"}\n";
    assert_eq!(message::<FromNode>(text), FromNode::Ready { ms: 1 });
    let text = "{\"type\":\"reply\",\"n\":1,\"later\":[],\"ok\":null}\n";
    let FromNode::Reply { answer, .. } = message(text) else {
        panic!("not a reply");
    };
    assert_eq!(answer, Answer::Ok(Value::Null));
    let Received::Unreadable(why) = parsed::<ToNode>("{\"type\":\"levitate\",\"n\":9}\n") else {
        panic!("an unknown type was understood");
    };
    assert_eq!(why.n, Some(9));
    assert!(why.reason.contains("levitate"), "{}", why.reason);
    let text = "{\"type\":\"fatal\",\"stage\":\"moon_phase\",\"text\":\"x\"}\n";
    let FromNode::Fatal { stage, .. } = message(text) else {
        panic!("not fatal");
    };
    assert_eq!(stage, Stage::Other);
}

#[test]
fn state_and_stage_names_are_the_channels() {
    for state in [
        State::Starting,
        State::CatchingUp,
        State::NoLeader,
        State::Removed,
    ] {
        assert_eq!(serde_json::to_value(state).unwrap(), state.name());
    }
    for stage in [Stage::Config, Stage::DataDir, Stage::Bind, Stage::Other] {
        assert_eq!(serde_json::to_value(stage).unwrap(), stage.name());
    }
}

#[test]
fn a_cut_off_line_is_the_end_and_an_endless_one_an_error() {
    assert!(read::<FromNode>(&mut &b""[..]).unwrap().is_none());
    assert!(read::<FromNode>(&mut &b"{\"type\":"[..]).unwrap().is_none());
    let endless = vec![b' '; LINE_BYTES_MAX + 1];
    let error = read::<FromNode>(&mut &endless[..]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let text = "x".repeat(LINE_BYTES_MAX);
    let log = FromNode::Warn {
        code: String::new(),
        text,
        fields: Map::new(),
    };
    assert!(write(&mut Vec::new(), &log).is_err());
}

#[test]
fn garbage_between_messages_is_reported_and_survived() {
    let bytes = b"not json\n\xff\xfe\n[]\n{\"type\":\"ready\",\"ms\":2}\n";
    let mut from = &bytes[..];
    for _ in 0..3 {
        let Some(Received::Unreadable(why)) = read::<FromNode>(&mut from).unwrap() else {
            panic!("garbage was understood");
        };
        assert_eq!(why.n, None);
    }
    let Some(Received::Message(ready)) = read::<FromNode>(&mut from).unwrap() else {
        panic!("the message behind the garbage was lost");
    };
    assert_eq!(ready, FromNode::Ready { ms: 2 });
    assert!(read::<FromNode>(&mut from).unwrap().is_none());
}
