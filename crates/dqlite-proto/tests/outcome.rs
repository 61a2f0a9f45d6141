//! May it have happened, may it be tried again: the table, row by row.

use dqlite_proto::outcome::{self, Call, Effect};
use dqlite_proto::{Code, Failure, Outcome, Progress, Retry};

const WRITE: Call = Call {
    effect: Effect::Write,
    in_transaction: false,
    one_query: false,
};
const READ: Call = Call {
    effect: Effect::Read,
    ..WRITE
};
const INSIDE: Call = Call {
    in_transaction: true,
    ..WRITE
};
const COMMIT: Call = Call {
    effect: Effect::Commit,
    ..INSIDE
};
const UNKNOWN: (Outcome, Retry) = (Outcome::Unknown, Retry::No);

const fn refused(retry: Retry) -> (Outcome, Retry) {
    (Outcome::Refused, retry)
}

const FAILURES: [(u64, &str, Call, (Outcome, Retry)); 28] = [
    (10250, "not leader", WRITE, refused(Retry::Elsewhere)),
    (8202, "not leader", INSIDE, refused(Retry::Transaction)),
    (12, "no database opened", WRITE, refused(Retry::Elsewhere)),
    (
        12,
        "no statement with the given id",
        WRITE,
        refused(Retry::Here),
    ),
    (10506, "leadership lost", WRITE, UNKNOWN),
    (10506, "leadership lost", COMMIT, UNKNOWN),
    (10506, "leadership lost", READ, refused(Retry::Elsewhere)),
    (8458, "disk I/O error", WRITE, UNKNOWN),
    (10, "leader exec failed", WRITE, UNKNOWN),
    (10, "leader exec failed", READ, refused(Retry::Here)),
    (10, "a text nobody has seen", WRITE, UNKNOWN),
    (10, "only WAL mode is supported", WRITE, refused(Retry::No)),
    (778, "disk I/O error", COMMIT, UNKNOWN),
    (4, "abort", WRITE, UNKNOWN),
    (9, "interrupted", INSIDE, refused(Retry::Transaction)),
    (5, "database is locked", WRITE, refused(Retry::Here)),
    (261, "database is locked", WRITE, refused(Retry::Here)),
    (5, "database is locked", INSIDE, refused(Retry::Transaction)),
    (5, "database is locked", COMMIT, refused(Retry::Here)),
    (5, "checkpoint in progress", WRITE, refused(Retry::Here)),
    (
        5,
        "a database for this connection is already open",
        WRITE,
        refused(Retry::No),
    ),
    (
        517,
        "database is locked",
        INSIDE,
        refused(Retry::Transaction),
    ),
    (
        2067,
        "UNIQUE constraint failed: t.a",
        WRITE,
        refused(Retry::No),
    ),
    (1, "near \"SELEC\": syntax error", WRITE, refused(Retry::No)),
    (1, "nonempty statement tail", WRITE, refused(Retry::No)),
    (0, "empty statement", WRITE, refused(Retry::No)),
    (7, "out of memory", WRITE, refused(Retry::No)),
    (65_000, "from the future", WRITE, refused(Retry::No)),
];

#[test]
fn outcomes_say_whether_it_may_have_happened() {
    for (code, message, call, expected) in FAILURES {
        let failure = Failure {
            code: Code(code),
            message: message.to_owned(),
        };
        let verdict = outcome::of_failure(&failure, call);
        assert_eq!(
            (verdict.outcome, verdict.retry),
            expected,
            "{failure} {call:?}"
        );
    }
    let masked = Failure {
        code: Code::ERROR,
        message: "nonempty statement tail".to_owned(),
    };
    let one = Call {
        one_query: true,
        ..READ
    };
    assert_eq!(outcome::of_failure(&masked, one).retry, Retry::Here);
}

#[test]
fn a_missing_answer_is_unknown_only_where_it_can_matter() {
    let cases = [
        (Progress::Unsent, WRITE, Outcome::NotSent, Retry::Elsewhere),
        (
            Progress::Partial,
            COMMIT,
            Outcome::NotSent,
            Retry::Transaction,
        ),
        (Progress::Sent, WRITE, Outcome::Unknown, Retry::No),
        (Progress::Streaming, WRITE, Outcome::Unknown, Retry::No),
        (Progress::Sent, COMMIT, Outcome::Unknown, Retry::No),
        (Progress::Sent, INSIDE, Outcome::Refused, Retry::Transaction),
        (
            Progress::Streaming,
            READ,
            Outcome::Refused,
            Retry::Elsewhere,
        ),
    ];
    for (progress, call, outcome, retry) in cases {
        assert_eq!(
            outcome::of_loss(progress, call),
            (outcome, retry),
            "{progress:?} {call:?}"
        );
    }
}

#[test]
fn codes_have_names_and_unknown_ones_survive() {
    assert_eq!(
        Code::CONSTRAINT_UNIQUE.name(),
        Some("SQLITE_CONSTRAINT_UNIQUE")
    );
    assert_eq!(Code(2067).primary(), Code::CONSTRAINT);
    assert_eq!(Code(1005).primary(), Code::DQLITE_PARSE);
    assert_eq!(Code(4242).to_string(), "code 4242");
    let shown = Failure {
        code: Code(1),
        message: "a\u{1b}[31m\nb".to_owned(),
    };
    assert_eq!(shown.to_string(), "a\\u{1b}[31m\\nb (SQLITE_ERROR, 1)");
}
