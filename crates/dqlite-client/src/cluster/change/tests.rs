//! Changes played against members that change as told.

use dqlite_proto::Failure;
use dqlite_proto::outcome::{self, Call, Effect};

use super::*;

fn member(id: u64, role: Role) -> NodeInfo {
    NodeInfo {
        id,
        address: format!("h{id}:1"),
        role,
    }
}

fn three() -> Vec<NodeInfo> {
    vec![
        member(1, Role::Voter),
        member(2, Role::Voter),
        member(3, Role::Spare),
    ]
}

fn failed(code: Code, message: &str) -> Result<()> {
    let failure = Failure {
        code,
        message: message.to_owned(),
    };
    let call = Call {
        effect: Effect::Write,
        in_transaction: false,
        one_query: false,
    };
    let verdict = outcome::of_failure(&failure, call);
    Err(Error::rejected("h1:1", failure, verdict, call))
}

/// Plays a change against members that change as told; returns what was asked.
fn play(change: Change, members: Vec<NodeInfo>, leader: u64) -> Result<Vec<String>> {
    play_with(Operation::new(change, 1), members, leader, &[])
}

/// The same when some nodes do not answer.
fn play_with(
    mut operation: Operation,
    mut members: Vec<NodeInfo>,
    mut leader: u64,
    down: &[u64],
) -> Result<Vec<String>> {
    let now = Instant::now();
    let mut asked = Vec::new();
    for _ in 0..20 {
        match operation.next(now, now + TIMEOUT)? {
            Next::Lead => operation.seen(members.clone(), &format!("h{leader}:1")),
            Next::Pause(_) => {}
            Next::Reach(mut nodes) => {
                nodes.retain(|node| down.iter().all(|id| *node != format!("h{id}:1")));
                operation.reached(nodes);
            }
            Next::Done => return Ok(asked),
            Next::Ask(request) => {
                asked.push(format!("{request:?}"));
                match request {
                    Request::Add { id, .. } => members.push(member(id, Role::Spare)),
                    Request::Assign { id, role } => {
                        members
                            .iter_mut()
                            .filter(|m| m.id == id)
                            .for_each(|m| m.role = role);
                    }
                    Request::Remove { id } => members.retain(|m| m.id != id),
                    Request::Transfer { id: 0 } => leader = 3 - leader,
                    Request::Transfer { id } => leader = id,
                    _ => {}
                }
                operation.answered(Ok(()))?;
            }
        }
    }
    Err(Error::usage("never ends"))
}

#[test]
fn only_what_is_missing_is_sent() {
    let add = Change::add(4, "h4:1", Role::Voter).unwrap();
    assert_eq!(
        play(add.clone(), three(), 1).unwrap().len(),
        2,
        "ADD, then ASSIGN"
    );
    let mut there = three();
    there.push(member(4, Role::Voter));
    assert!(play(add, there, 1).unwrap().is_empty());
    let assign = Change::Assign {
        id: 3,
        role: Role::Spare,
    };
    assert!(play(assign, three(), 1).unwrap().is_empty());
    assert!(
        play(Change::Remove { id: 9 }, three(), 1)
            .unwrap()
            .is_empty()
    );
    assert!(
        play(Change::Transfer { to: Some(1) }, three(), 1)
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        play(Change::Transfer { to: None }, three(), 1)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_leader_steps_down_before_it_loses_its_vote() {
    let removed = |down: &[u64]| {
        let operation = Operation::new(Change::Remove { id: 1 }, 1);
        play_with(operation, three(), 1, down).unwrap()
    };
    let [away, heir, gone] = [
        "Transfer { id: 0 }",
        "Assign { id: 3, role: Voter }",
        "Remove { id: 1 }",
    ];
    assert_eq!(removed(&[]), [away, heir, gone], "a spare takes the vote");
    assert_eq!(removed(&[3]), [away, gone], "nobody is there to take it");
    let role = Role::Spare;
    let asked = play(Change::Assign { id: 1, role }, three(), 1).unwrap();
    assert_eq!(
        asked,
        ["Transfer { id: 0 }", "Assign { id: 1, role: Spare }"]
    );
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let add = |id, address| Change::add(id, address, Role::Spare).unwrap();
    for (change, why) in [
        (add(3, "other:1"), "id 3 belongs to h3:1"),
        (add(9, "h2:1"), "belongs to id 2"),
        (
            Change::Assign {
                id: 9,
                role: Role::Voter,
            },
            "no member has the id 9",
        ),
        (
            Change::Transfer { to: Some(3) },
            "h3:1 is a spare and cannot lead",
        ),
    ] {
        let error = play(change, three(), 1).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    let demoted = Change::Assign {
        id: 1,
        role: Role::Spare,
    };
    let last = [Change::Remove { id: 1 }, demoted, add(1, "h1:1")];
    for change in last.into_iter().chain([Change::Transfer { to: None }]) {
        let error = play(change, vec![member(1, Role::Voter)], 1).unwrap_err();
        assert!(error.to_string().starts_with("h1:1 is the "), "{error}");
    }
}

#[test]
fn a_majority_of_those_who_stay_must_answer() {
    let voters = || {
        (1..=4)
            .map(|id| member(id, Role::Voter))
            .collect::<Vec<_>>()
    };
    let remove = |id| Operation::new(Change::Remove { id }, 1);
    // Of 1, 2, 3 only the leader answers.
    let error = play_with(remove(4), voters(), 1, &[2, 3]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "without node 4 only 1 of 3 voters would answer, and nobody could lead; \
         force it to try nevertheless"
    );
    // A dead one may go, and a living one that leaves a majority.
    for id in [2, 4] {
        let asked = play_with(remove(id), voters(), 1, &[2]).unwrap();
        assert_eq!(asked, [format!("Remove {{ id: {id} }}")]);
    }
    let forced = remove(4).forced(true);
    assert_eq!(
        play_with(forced, voters(), 1, &[2, 3]).unwrap(),
        ["Remove { id: 4 }"]
    );
    // Those without a vote are no loss.
    let spare = play_with(remove(3), three(), 1, &[2, 3]).unwrap();
    assert_eq!(spare, ["Remove { id: 3 }"]);
}

#[test]
fn who_does_not_answer_gets_no_vote() {
    let add = || Operation::new(Change::add(4, "h4:1", Role::Voter).unwrap(), 1);
    let error = play_with(add(), three(), 1, &[4]).unwrap_err();
    assert!(
        error.to_string().starts_with("h4:1 does not answer"),
        "{error}"
    );
    assert_eq!(
        play_with(add().forced(true), three(), 1, &[4])
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn a_replacement_that_fails_does_not_stop_a_removal() {
    let now = Instant::now();
    let mut operation = Operation::new(Change::Remove { id: 2 }, 1);
    operation.seen(three(), "h1:1");
    assert!(matches!(
        operation.next(now, now + TIMEOUT).unwrap(),
        Next::Reach(_)
    ));
    operation.reached(vec!["h3:1".to_owned()]);
    let mut asked = || match operation.next(now, now + TIMEOUT).unwrap() {
        Next::Ask(request) => format!("{request:?}"),
        next => panic!("{next:?}"),
    };
    assert_eq!(asked(), "Assign { id: 3, role: Voter }");
    let gone = failed(Code::ERROR, "no connection to remote server available");
    operation.answered(gone).unwrap();
    operation.seen(three(), "h1:1");
    let next = operation.next(now, now + TIMEOUT).unwrap();
    assert!(
        matches!(next, Next::Ask(Request::Remove { id: 2 })),
        "{next:?}"
    );
}

#[test]
fn doubt_is_settled_by_reading() {
    let now = Instant::now();
    let mut operation = Operation::new(Change::Remove { id: 3 }, 1);
    operation.seen(three(), "h1:1");
    assert!(matches!(
        operation.next(now, now + TIMEOUT).unwrap(),
        Next::Ask(_)
    ));
    assert!(
        operation
            .answered(failed(Code::LEADERSHIP_LOST, "leadership lost"))
            .unwrap()
    );
    assert!(matches!(
        operation.next(now, now + TIMEOUT).unwrap(),
        Next::Pause(_)
    ));
    assert!(matches!(
        operation.next(now, now + TIMEOUT).unwrap(),
        Next::Lead
    ));
    operation.seen(three()[..2].to_vec(), "h2:1");
    assert!(matches!(
        operation.next(now, now + TIMEOUT).unwrap(),
        Next::Done
    ));
    let late = operation.next(now + TIMEOUT, now + TIMEOUT).unwrap_err();
    assert_eq!(
        (late.kind(), late.outcome()),
        (ErrorKind::Timeout, Outcome::Unknown)
    );
    assert!(late.to_string().contains("leadership lost"), "{late}");
}

#[test]
fn answers_are_told_apart() {
    let mut operation = Operation::new(
        Change::Assign {
            id: 3,
            role: Role::Voter,
        },
        1,
    );
    let busy = failed(Code::BUSY, "a configuration change is already in progress");
    assert!(
        !operation.answered(busy).unwrap(),
        "the same leader is asked again"
    );
    assert!(
        operation
            .answered(failed(Code::NOT_LEADER, "not leader"))
            .unwrap()
    );
    assert!(
        operation
            .answered(failed(Code::ERROR, "server role is not valid"))
            .is_ok()
    );
    let gone = failed(Code::ERROR, "no connection to remote server available");
    assert!(operation.answered(gone).is_err());
}
