//! What the files of a data directory mean, and how they are written.

use std::os::unix::fs::PermissionsExt as _;

use dqlite_node::data_dir::{BOOTSTRAP_IDS, Contents, DataDir, Plan, Refusal, Wanted, plan};
use dqlite_node::info::Info;
use dqlite_node::{HostError, Stage};
use dqlite_proto::{NodeInfo, Role};

const ADDRESS: &str = "127.0.0.1:9001";

fn info(id: u64) -> Info {
    Info {
        id,
        address: ADDRESS.to_owned(),
    }
}

fn members() -> Vec<NodeInfo> {
    vec![NodeInfo {
        id: 7,
        address: ADDRESS.to_owned(),
        role: Role::Voter,
    }]
}

fn wanted() -> Wanted<'static> {
    Wanted {
        address: ADDRESS,
        id: None,
        listed: false,
    }
}

fn full(id: u64) -> Contents {
    Contents {
        info: Some(info(id)),
        cluster: Some(members()),
        raft: true,
        ..Contents::default()
    }
}

fn restart(joining: bool, members: Vec<NodeInfo>) -> Plan {
    Plan::Restart {
        info: info(7),
        members,
        joining,
    }
}

#[test]
fn an_empty_directory_is_a_first_start() {
    assert_eq!(plan(Contents::default(), wanted()), Ok(Plan::First));
    let leftovers = Contents {
        cluster: Some(members()),
        join: true,
        ..Contents::default()
    };
    assert_eq!(plan(leftovers, wanted()), Ok(Plan::First));
}

#[test]
fn identity_and_data_are_a_restart() {
    assert_eq!(plan(full(7), wanted()), Ok(restart(false, members())));
    let unlisted = Contents {
        cluster: None,
        ..full(7)
    };
    assert_eq!(plan(unlisted, wanted()), Ok(restart(false, Vec::new())));
}

#[test]
fn an_unconfirmed_seat_is_joined_again() {
    for raft in [false, true] {
        let joining = Contents {
            join: true,
            raft,
            ..full(7)
        };
        assert_eq!(plan(joining, wanted()), Ok(restart(true, members())));
    }
    let bootstrap = Contents {
        join: true,
        ..full(BOOTSTRAP_IDS[0])
    };
    assert_eq!(plan(bootstrap, wanted()), Err(Refusal::BootstrapJoins));
}

#[test]
fn half_a_directory_is_never_bootstrapped_over() {
    let no_data = Contents {
        raft: false,
        ..full(7)
    };
    assert_eq!(
        plan(no_data.clone(), wanted()),
        Err(Refusal::NoData { id: 7 })
    );
    let crashed = Contents {
        forming: true,
        ..no_data
    };
    assert_eq!(plan(crashed, wanted()), Ok(Plan::First));
    let no_identity = Contents {
        info: None,
        ..full(7)
    };
    assert_eq!(plan(no_identity, wanted()), Err(Refusal::NoIdentity));
}

#[test]
fn lost_data_is_given_up_only_when_others_may_know() {
    let no_data = Contents {
        raft: false,
        ..full(7)
    };
    let listed = Wanted {
        listed: true,
        ..wanted()
    };
    assert_eq!(plan(no_data.clone(), listed), Ok(Plan::Lost { id: 7 }));
    let mut spare = members();
    spare[0].role = Role::Spare;
    let spare_alone = Contents {
        cluster: Some(spare.clone()),
        ..no_data
    };
    assert_eq!(plan(spare_alone, wanted()), Ok(restart(true, spare)));
}

#[test]
fn what_is_set_aside_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), ADDRESS).unwrap();
    dir.found(&info(7), &members(), false).unwrap();
    dir.formed().unwrap();
    dir.set_aside().unwrap();
    assert_eq!(dir.read().unwrap(), Contents::default());
    let names = std::fs::read_dir(folder.path()).unwrap();
    let kept = names.filter(|name| {
        let name = name.as_ref().unwrap().file_name();
        name.to_string_lossy().contains(".lost-")
    });
    assert_eq!(kept.count(), 2);
}

#[test]
fn another_identity_is_refused() {
    let other_id = Wanted {
        id: Some(8),
        ..wanted()
    };
    assert_eq!(
        plan(full(7), other_id),
        Err(Refusal::OtherId {
            found: 7,
            wanted: 8
        })
    );
    let other_address = Wanted {
        address: "127.0.0.1:9002",
        ..wanted()
    };
    assert!(matches!(
        plan(full(7), other_address),
        Err(Refusal::OtherAddress { .. })
    ));
    let spelled_otherwise = Wanted {
        address: "127.0.0.1:09001",
        ..wanted()
    };
    assert!(plan(full(7), spelled_otherwise).is_ok());
}

#[test]
fn who_left_stays_away() {
    let left = Contents {
        left: Some("{}".to_owned()),
        ..full(7)
    };
    assert!(matches!(plan(left, wanted()), Err(Refusal::Left { .. })));
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/demand");
    let dir = DataDir::open(&path, ADDRESS).unwrap();
    assert_eq!(dir.read().unwrap(), Contents::default());
    dir.found(&info(7), &members(), true).unwrap();
    let begun = Contents {
        join: true,
        forming: true,
        raft: false,
        ..full(7)
    };
    assert_eq!(dir.read().unwrap(), begun);
    dir.formed().unwrap();
    dir.joined(&members()).unwrap();
    assert_eq!(
        dir.read().unwrap(),
        Contents {
            raft: false,
            ..full(7)
        }
    );
    for raft in [
        "metadata1",
        "0000000000000001-0000000000000001",
        "snapshot-1-2-3",
    ] {
        std::fs::write(path.join(raft), "").unwrap();
        assert!(dir.read().unwrap().raft, "{raft}");
        std::fs::remove_file(path.join(raft)).unwrap();
    }
    std::fs::write(path.join("open-1"), "").unwrap();
    assert!(!dir.read().unwrap().raft);
    let mode = |name: &str| path.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(""), mode("info.yaml"), mode("cluster.yaml")),
        (0o700, 0o600, 0o600)
    );
}

#[test]
fn a_directory_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let held = DataDir::open(folder.path(), ADDRESS).unwrap();
    let error = DataDir::open(folder.path(), ADDRESS).unwrap_err();
    assert!(
        matches!(&error, HostError::Locked { by, .. } if by.contains("pid")),
        "{error}"
    );
    assert_eq!(error.stage(), Stage::Lock);
    drop(held);
    DataDir::open(folder.path(), ADDRESS).unwrap();
}

#[test]
fn an_owner_that_is_stopping_is_waited_for() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let held = DataDir::open(folder.path(), ADDRESS).unwrap();
    held.draining();
    let path = folder.path().to_owned();
    let waiting = std::thread::spawn(move || DataDir::open(&path, ADDRESS).map(drop));
    // Refusing an owner that is not stopping takes as long as that one would be waited for.
    let _live = DataDir::open(other.path(), ADDRESS).unwrap();
    DataDir::open(other.path(), ADDRESS).unwrap_err();
    assert!(!waiting.is_finished());
    drop(held);
    waiting.join().unwrap().unwrap();
}

#[test]
fn damaged_files_and_useless_places_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = DataDir::open(&file, ADDRESS).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
    let error = DataDir::open(std::path::Path::new("/proc/none"), ADDRESS).unwrap_err();
    assert_eq!(
        (error.stage(), error.code()),
        (Stage::DataDir, "not_usable")
    );
    let long = folder
        .path()
        .join("x".repeat(200))
        .join("x".repeat(200))
        .join("x".repeat(200));
    let longer = long.join("x".repeat(200)).join("x".repeat(200));
    let error = DataDir::open(&longer, ADDRESS).unwrap_err();
    assert!(error.to_string().contains("894"), "{error}");
    let dir = DataDir::open(folder.path(), ADDRESS).unwrap();
    for name in ["info.yaml", "cluster.yaml"] {
        std::fs::write(folder.path().join(name), "{[").unwrap();
        let error = dir.read().unwrap_err();
        assert!(matches!(&error, HostError::Damaged { path, .. } if path.ends_with(name)));
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
}
