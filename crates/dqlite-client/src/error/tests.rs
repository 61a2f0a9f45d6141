//! What errors say.

use super::*;

const WRITE: Call = Call {
    effect: Effect::Write,
    in_transaction: false,
    one_query: false,
};

#[test]
fn an_error_is_one_word_wide() {
    assert_eq!(size_of::<Error>(), size_of::<usize>());
}

#[test]
fn a_lost_write_is_in_doubt_and_says_so() {
    let error = Error::lost("h:1", Loss::Closed).judged(Progress::Sent, WRITE);
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(!error.is_retryable());
    assert_eq!(
        error.to_string(),
        "h:1 closed the connection; the write may have taken effect: read before repeating it"
    );
}

#[test]
fn what_never_left_may_be_tried_elsewhere() {
    let error = Error::lost("h:1", Loss::Closed).judged(Progress::Unsent, WRITE);
    assert_eq!(
        (error.outcome(), error.retry()),
        (Outcome::NotSent, Retry::Elsewhere)
    );
    assert!(error.is_retryable());
}

#[test]
fn a_refused_write_keeps_the_servers_words() {
    let failure = Failure {
        code: Code::CONSTRAINT_UNIQUE,
        message: "UNIQUE constraint failed: t.id".to_owned(),
    };
    let verdict = outcome::of_failure(&failure, WRITE);
    let error = Error::rejected("h:1", failure, verdict, WRITE);
    assert_eq!(error.code(), Some(Code::CONSTRAINT_UNIQUE));
    assert_eq!(
        (error.outcome(), error.retry()),
        (Outcome::Refused, Retry::No)
    );
    assert!(
        error
            .to_string()
            .starts_with("h:1: UNIQUE constraint failed: t.id")
    );
}
