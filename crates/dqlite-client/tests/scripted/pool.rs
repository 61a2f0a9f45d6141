//! Pools of both drivers over real sockets.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dqlite_client::pool::Options;
use dqlite_client::proto::{Request, RequestKind, Response};
use dqlite_client::{Config, ErrorKind, Outcome, Pool, blocking};
use dqlite_testkit::fake_server::{Act, FakeServer, Gate};

use crate::support::{LONG, TIMEOUT, config, modern, runtime, until};

fn server() -> (FakeServer, Config) {
    let server = FakeServer::start(modern).expect("a server");
    let config = config(&[server.address()]);
    (server, config)
}

fn options() -> Options {
    Options::default().with_max(2).with_acquire_timeout(LONG)
}

#[test]
fn connections_are_used_again() {
    let (server, config) = server();
    let pool = blocking::Pool::new(&config, options()).unwrap();
    for _ in 0..10 {
        pool.execute("DELETE FROM t", ()).unwrap();
    }
    assert_eq!(server.count(RequestKind::OPEN), 1);
    runtime().block_on(async {
        let pool = Pool::new(&config, options()).unwrap();
        for _ in 0..10 {
            pool.execute("DELETE FROM t", ()).await.unwrap();
        }
        let status = pool.status();
        assert_eq!((status.size, status.idle, status.opened_total), (1, 1, 1));
    });
    assert_eq!(server.count(RequestKind::OPEN), 2);
}

#[test]
fn the_line_has_a_limit_and_a_deadline() {
    let (_server, config) = server();
    let options = options().with_waiting_max(1);
    let pool = blocking::Pool::new(&config, options.clone()).unwrap();
    let (_one, _two) = (pool.get().unwrap(), pool.get().unwrap());
    let waiting = {
        let pool = pool.clone();
        // Long enough for somebody else to be turned away meanwhile.
        thread::spawn(move || pool.get_within(TIMEOUT * 10).map(drop))
    };
    until("waiting", || pool.status().waiting == 1);
    let full = pool.get_within(LONG).unwrap_err();
    assert_eq!(full.to_string(), "1 callers wait for a connection already");
    let late = waiting.join().unwrap().unwrap_err();
    assert_eq!(
        (late.kind(), late.outcome()),
        (ErrorKind::Pool, Outcome::NotSent)
    );
    assert_eq!(
        late.to_string(),
        "no connection came free within 3.0 s: 2 in use, 0 being opened, 1 in line"
    );
    assert_eq!(pool.status().waiting, 0);
    runtime().block_on(async {
        let pool = Pool::new(&config, options).unwrap();
        let (_one, _two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
        assert!(pool.try_get().await.unwrap().is_none());
        let late = pool.get_within(TIMEOUT).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Pool);
        assert_eq!(pool.status().waiting, 0);
    });
}

#[test]
fn ten_thousand_cancelled_callers_leak_nothing() {
    let (server, config) = server();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pool = Pool::new(&config, options().with_waiting_max(100_000)).unwrap();
        let mut cancelled = 0;
        for round in 0..100_u64 {
            let tasks = (0..100).map(|task| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    // Cut off while opening, waiting, holding, in a statement, or not at all.
                    let limit = Duration::from_micros((round * 100 + task) * 7 % 900);
                    let use_it = async {
                        let mut connection = pool.get().await.unwrap();
                        if task % 3 == 0 {
                            let mut open = connection.transaction().await.unwrap();
                            open.execute("DELETE FROM t", ()).await.unwrap();
                        }
                        connection.query("SELECT n FROM t", ()).await.unwrap();
                    };
                    tokio::time::timeout(limit, use_it).await.is_err()
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                cancelled += usize::from(task.await.unwrap());
            }
        }
        assert!(cancelled > 1000, "{cancelled} were cut off");
        let deadline = Instant::now() + LONG;
        loop {
            let status = pool.status();
            let quiet = status.lent + status.opening + status.waiting == 0;
            if quiet {
                assert_eq!(status.size, status.idle);
                break;
            }
            assert!(Instant::now() < deadline, "{status:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let both = [pool.get().await.unwrap(), pool.get().await.unwrap()];
        drop(both);
        pool.close(LONG).await.unwrap();
        assert_eq!(pool.status().size, 0);
    });
    drop(server);
}

#[test]
fn a_dirty_connection_is_cleaned_before_it_is_lent_again() {
    for raw in [false, true] {
        let (server, config) = server();
        let pool = blocking::Pool::new(&config, options().with_max(1)).unwrap();
        let mut connection = pool.get().unwrap();
        if raw {
            connection.execute("BEGIN", ()).unwrap();
        } else {
            std::mem::forget(connection.transaction().unwrap());
        }
        drop(connection);
        pool.execute("DELETE FROM t", ()).unwrap();
        runtime().block_on(async {
            let pool = Pool::new(&config, options().with_max(1)).unwrap();
            let mut connection = pool.get().await.unwrap();
            if raw {
                connection.execute("BEGIN", ()).await.unwrap();
            } else {
                drop(connection.transaction().await.unwrap());
            }
            drop(connection);
            pool.execute("DELETE FROM t", ()).await.unwrap();
        });
        let seen = server.seen();
        for connection in 0..server.connections() {
            let said = seen.iter().filter(|seen| seen.connection == connection);
            let said: Vec<_> = said
                .filter(|seen| seen.kind == RequestKind::EXEC_SQL)
                .filter_map(|seen| seen.sql.as_deref())
                .collect();
            if !said.is_empty() {
                let begin = if raw { "BEGIN" } else { "BEGIN IMMEDIATE" };
                assert_eq!(said, [begin, "ROLLBACK", "DELETE FROM t"]);
            }
        }
    }
}

#[test]
fn a_reply_that_nobody_waits_for_is_read_before_the_connection_is_lent_again() {
    let gate = Gate::default();
    let held = gate.clone();
    let slow = FakeServer::start(move |call| match call.request {
        Request::QuerySql {
            sql: "SELECT slow", ..
        } => modern(call).behind(&held),
        _ => modern(call),
    })
    .unwrap();
    runtime().block_on(async {
        let pool = Pool::new(&config(&[slow.address()]), options().with_max(1)).unwrap();
        let mut connection = pool.get().await.unwrap();
        let given_up = connection.query("SELECT slow", ());
        let limit = tokio::time::timeout(Duration::from_millis(20), given_up);
        assert!(limit.await.is_err());
        gate.open();
        drop(connection);
        let rows = pool.query("SELECT n FROM t", ()).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(pool.status().opened_total, 1);
    });
}

#[test]
fn a_server_that_hangs_up_costs_no_caller_an_error() {
    let (server, config) = server();
    let pool = blocking::Pool::new(&config, options()).unwrap();
    let both = (pool.get().unwrap(), pool.get().unwrap());
    drop(both);
    server.hang_up();
    for _ in 0..4 {
        pool.execute("DELETE FROM t", ()).unwrap();
    }
    let status = pool.status();
    assert_eq!((status.opened_total, status.closed_total), (3, 2));
}

#[test]
fn connections_to_a_former_leader_leave_together() {
    let (old, new) = (
        FakeServer::start(modern).unwrap(),
        FakeServer::start(modern).unwrap(),
    );
    let deposed = Arc::new(AtomicBool::new(false));
    let leader = Arc::new(Mutex::new(old.address().to_owned()));
    let (knows, is_deposed) = (Arc::clone(&leader), Arc::clone(&deposed));
    let front = FakeServer::start(move |call| match call.request {
        Request::Leader => {
            let address = if is_deposed.load(Ordering::SeqCst) {
                knows.lock().unwrap().clone()
            } else {
                call.address.to_owned()
            };
            Act::reply(&Response::Server { id: 1, address })
        }
        Request::ExecSql { .. } | Request::QuerySql { .. } if is_deposed.load(Ordering::SeqCst) => {
            Act::failure(dqlite_client::Code::NOT_LEADER, "not leader")
        }
        _ => modern(call),
    })
    .unwrap();
    new.address().clone_into(&mut leader.lock().unwrap());
    let config = config(&[front.address()]);
    let pool = blocking::Pool::new(&config, options().with_max(4)).unwrap();
    let all: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    drop(all);
    deposed.store(true, Ordering::SeqCst);
    let error = pool.execute("DELETE FROM t", ()).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    // The first to notice was the last to be told no.
    for _ in 0..4 {
        pool.execute("DELETE FROM t", ()).unwrap();
    }
    let connection = pool.get().unwrap();
    assert_eq!(connection.address(), new.address());
    assert_eq!(pool.status().retired_total, 2, "{:?}", pool.status());
    drop(old);
}

#[test]
fn the_smallest_number_is_kept_and_old_ones_replaced() {
    let (server, config) = server();
    let options = options()
        .with_min(2)
        .with_lifetime(Duration::from_millis(300));
    let pool = blocking::Pool::new(&config, options.clone()).unwrap();
    drop(pool.get().unwrap());
    until("two connections", || pool.status().idle == 2);
    until("their replacement", || pool.status().closed_total >= 2);
    until("two connections", || pool.status().idle == 2);
    pool.close(LONG).unwrap();
    runtime().block_on(async {
        let pool = Pool::new(&config, options).unwrap();
        drop(pool.get().await.unwrap());
        let deadline = Instant::now() + LONG;
        while pool.status().closed_total < 2 || pool.status().idle < 2 {
            assert!(Instant::now() < deadline, "{:?}", pool.status());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    drop(server);
}

#[test]
fn closing_waits_for_what_is_out() {
    let (_server, config) = server();
    let pool = blocking::Pool::new(&config, options().with_max(1)).unwrap();
    let connection = pool.get().unwrap();
    let waiting = {
        let pool = pool.clone();
        thread::spawn(move || pool.get().map(drop))
    };
    until("waiting", || pool.status().waiting == 1);
    let error = pool.close(TIMEOUT).unwrap_err();
    let text = "the pool is closed, but 1 connections have not come back";
    assert_eq!(error.to_string(), text);
    let sent_away = waiting.join().unwrap().unwrap_err();
    assert_eq!(sent_away.to_string(), "the pool is closed");
    drop(connection);
    pool.close(LONG).unwrap();
    assert_eq!(pool.get().unwrap_err().to_string(), "the pool is closed");
}

#[test]
fn many_threads_share_few_connections() {
    let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (_server, config) = server();
    let pool = blocking::Pool::new(&config, options().with_max(3)).unwrap();
    let threads = (0..12).map(|_| {
        let (pool, busy, most) = (pool.clone(), Arc::clone(&busy), Arc::clone(&most));
        thread::spawn(move || {
            for _ in 0..30 {
                let mut connection = pool.get().unwrap();
                let now = busy.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                connection.execute("DELETE FROM t", ()).unwrap();
                busy.fetch_sub(1, Ordering::SeqCst);
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert!(pool.status().opened_total <= 3);
}

#[test]
fn a_pool_without_room_is_refused() {
    let (_server, config) = server();
    for options in [options().with_max(0), options().with_min(3)] {
        let error = blocking::Pool::new(&config, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
