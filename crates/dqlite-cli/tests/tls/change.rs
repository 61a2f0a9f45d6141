//! Certificates and signers change while clients work.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use dqlite::blocking::Connection;
use dqlite_client::tls::{Files, Identity, Tls, stream};
use dqlite_testkit::certificates::Authority;

use crate::{HOST, PATIENCE, Place, await_that, replace};

/// Who signed the certificate that a node shows now, to a client with these files.
fn shown_issuer(place: &Place, index: usize, files: &Files) -> Option<String> {
    let identity = Identity::load(files).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(place.address(index))
            .await
            .ok()?;
        let stream = stream::connect(&identity, HOST, socket).await.ok()?;
        Some(stream.peer()?.facts().issuer)
    })
}

/// Has every node trust a second signer, for the time between, and a client of that one let in.
fn trust_both_signers(place: &Place) -> Authority {
    let next = Authority::new("next CA");
    replace(
        &format!("{}{}", place.signer.pem(), next.pem()),
        &place.path("ca.pem"),
    );
    let app = next.issue(&["app"]);
    next.write(&place.path("next-ca.pem")).unwrap();
    app.write(place.folder.path(), "next-app").unwrap();
    // The new client is let in as soon as a node trusts the new signer.
    let both = place.files("next-app");
    for index in 0..3 {
        await_that("trust in the new signer", || {
            let mut config = place.client(both.clone());
            config.hosts = vec![place.address(index).parse().unwrap()];
            let deadline = std::time::Instant::now() + Duration::from_secs(5);
            let address = place.address(index).parse().unwrap();
            dqlite_client::blocking::probe(&config, &address, deadline).is_ok()
        });
    }
    next
}

#[test]
fn certificates_and_signers_change_under_load_without_a_lost_connection() {
    // Elections are for another test: a busy machine holds a leader up for longer than 0.3 s.
    let place = Place::describe(3, |builder| {
        builder
            .option("tls_max_stream_age", 2.0)
            .network_latency(Duration::from_millis(100))
    });
    place.start_all();
    let config = place.client(place.files("app"));
    let mut connection = Connection::open(&config).unwrap();
    connection.execute("CREATE TABLE t (n)", ()).unwrap();
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let writer = thread::spawn({
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        move || {
            while !stop.load(Ordering::Relaxed) {
                connection
                    .execute("INSERT INTO t VALUES (1)", ())
                    .expect("the connection lives through every change");
                done.fetch_add(1, Ordering::Relaxed);
            }
            connection
        }
    });

    let next = trust_both_signers(&place);
    let both = place.files("next-app");
    // The nodes' own certificates: key first, then certificate, so that they do not fit between.
    let node = next.issue(&[HOST]);
    replace(&node.key, &place.path("node.key"));
    replace(&node.cert, &place.path("node.pem"));
    for index in 0..3 {
        await_that("the new certificate", || {
            shown_issuer(&place, index, &both).as_deref() == Some("CN=next CA")
        });
    }
    // The old signer goes.
    replace(next.pem(), &place.path("ca.pem"));
    await_that("the end of the old signer's trust", || {
        let old = Files::new(place.path("next-ca.pem"))
            .with_identity(place.path("app.pem"), place.path("app.key"));
        let refused = Connection::open(
            &place
                .plain()
                .with_tls(Tls::load(old).unwrap())
                .with_connect_timeout(Duration::from_secs(1)),
        );
        refused.is_err_and(|error| error.to_string().contains("does not trust the CA"))
    });
    let before = done.load(Ordering::Relaxed);
    await_that("more writes", || done.load(Ordering::Relaxed) > before + 20);
    stop.store(true, Ordering::Relaxed);
    let mut connection = writer.join().unwrap();
    let count = connection.query_one("SELECT count(*) FROM t", ()).unwrap();
    let count: i64 = count.get(0).unwrap();
    assert_eq!(u64::try_from(count).unwrap(), done.load(Ordering::Relaxed));
    // And the cluster still elects by the new certificates alone.
    let leader = place.nodes.iter().find(|node| node.is_leader());
    leader.unwrap().handover(PATIENCE, false).unwrap();
    let mut connection = Connection::open(&place.client(place.files("next-app"))).unwrap();
    connection.execute("INSERT INTO t VALUES (2)", ()).unwrap();
}

#[test]
fn a_server_whose_certificate_runs_out_is_named_with_the_reason() {
    let place = Place::describe(1, |builder| builder);
    let now = SystemTime::now();
    let brief = place.signer.issue_between(
        &[HOST],
        now - Duration::from_hours(1),
        now + Duration::from_secs(20),
    );
    place.issue("node", &brief);
    place.start_all();
    let config = place.client(place.files("app"));
    let mut connection = Connection::open(&config).unwrap();
    connection.execute("CREATE TABLE t (n)", ()).unwrap();
    await_that("the end of the certificate", || {
        let config = config.clone().with_connect_timeout(Duration::from_secs(1));
        let opened = Connection::open(&config);
        opened.is_err_and(|error| error.to_string().contains("tls: certificate expired"))
    });
    // Who was let in before stays.
    connection.execute("INSERT INTO t VALUES (1)", ()).unwrap();
    // A new certificate is enough.
    let fresh = place.signer.issue(&[HOST]);
    fs::write(place.path("node.key"), &fresh.key).unwrap();
    fs::write(place.path("node.pem"), &fresh.cert).unwrap();
    await_that("a good certificate", || Connection::open(&config).is_ok());
}
