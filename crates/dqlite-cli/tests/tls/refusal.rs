//! Without a good certificate nobody gets a byte of SQL or of raft through.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dqlite::blocking::Connection;
use dqlite_client::proto::{Limits, Request, Session};
use dqlite_client::tls::{Files, Identity, stream};
use dqlite_client::{Address, AttemptKind};
use dqlite_testkit::certificates::Authority;
use dqlite_testkit::{engine, ports};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{EXECUTABLE, HOST, Place};

/// What a client that asks for the leader gets to see, and how long it takes.
fn answer(mut stream: impl Read + Write) -> Vec<u8> {
    let mut session = Session::new(Limits::default());
    session.queue(&Request::Leader).unwrap();
    let mut answer = Vec::new();
    // A refusal may come before everything is written, or cut it off.
    let _ = stream.write_all(session.output());
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn dial(place: &Place) -> TcpStream {
    let stream = TcpStream::connect(place.address(0)).unwrap();
    let timeout = Some(Duration::from_secs(20));
    stream.set_read_timeout(timeout).unwrap();
    stream
}

fn attempt(place: &Place, files: Files) -> (AttemptKind, String) {
    let config = place
        .client(files)
        .with_connect_timeout(Duration::from_secs(2));
    let error = Connection::open(&config).unwrap_err();
    let attempt = &error.attempts()[0];
    (attempt.kind.clone(), attempt.text.clone())
}

#[test]
fn nobody_gets_in_without_a_good_certificate() {
    let place = Place::start(1);
    let good = Connection::open(&place.client(place.files("app"))).unwrap();
    drop(good);

    // Plain: an alert of TLS, seven bytes, and the end.
    let began = Instant::now();
    let seen = answer(dial(&place));
    assert!(seen.len() <= 7 && !seen.is_empty(), "{seen:02x?}");
    assert!(began.elapsed() < Duration::from_secs(2));
    let error = Connection::open(&place.plain().with_connect_timeout(Duration::from_secs(2)));
    let error = error.unwrap_err();
    assert_eq!(error.attempts()[0].kind, AttemptKind::Tls, "{error}");
    assert!(error.to_string().contains("use dqlites://"), "{error}");

    // A certificate of another signer, none, and one that does not fit the server's side.
    let other = Authority::new("old CA");
    let stranger = place.issue("stranger", &other.issue(&["app"]));
    let (kind, text) = attempt(&place, stranger);
    assert_eq!(kind, AttemptKind::Tls, "{text}");
    assert!(text.contains("does not trust the CA"), "{text}");
    let (kind, text) = attempt(&place, Files::new(place.path("ca.pem")));
    assert_eq!(kind, AttemptKind::Tls, "{text}");
    assert!(text.contains("peer wants a client certificate"), "{text}");

    // The client trusts somebody else, or dials by another name.
    other.write(&place.path("other.pem")).unwrap();
    let (_, text) = attempt(&place, Files::new(place.path("other.pem")));
    assert!(
        text.contains("tls: certificate is signed by \"CN=first CA\", which is not in"),
        "{text}"
    );
    let elsewhere = place.files("app").with_server_name("db9.internal");
    let (_, text) = attempt(&place, elsewhere);
    assert!(
        text.contains("certificate is for 127.0.0.1; dialled db9.internal"),
        "{text}"
    );
}

#[test]
fn a_plain_port_says_that_it_speaks_no_tls() {
    let place = Place::start(1);
    let plain = ports::free_address().unwrap();
    let node = dqlite::Node::builder(&plain, place.path("plain"))
        .executable(EXECUTABLE)
        .engine(engine())
        .build()
        .unwrap();
    node.start().unwrap();
    let mut config = place.client(place.files("app"));
    config.hosts = vec![plain.parse().unwrap()];
    let began = Instant::now();
    let error = Connection::open(&config).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(error.attempts()[0].kind, AttemptKind::Tls, "{error}");
    assert!(error.to_string().contains("use dqlite://"), "{error}");
}

#[test]
fn an_expired_client_is_turned_away() {
    let place = Place::start(1);
    let expired = place
        .signer
        .issue_expired(&["app"], Duration::from_hours(49));
    // Our own client would not even try.
    let error = dqlite_client::tls::Tls::load(place.issue("expired", &expired)).unwrap_err();
    assert!(error.to_string().contains("certificate expired 2 days ago"));
    let (seen, error) = by_rustls(&place, &rustls::version::TLS13, &expired);
    assert!(seen.is_empty(), "{seen:02x?}");
    assert!(error.contains("CertificateExpired"), "{error}");
}

#[test]
fn tls_1_2_is_turned_away() {
    let place = Place::start(1);
    let good = place.signer.issue(&["app"]);
    let (seen, error) = by_rustls(&place, &rustls::version::TLS12, &good);
    assert!(seen.is_empty(), "{seen:02x?}");
    assert!(error.contains("ProtocolVersion"), "{error}");
}

/// What a client with this version and certificate gets to see.
fn by_rustls(
    place: &Place,
    version: &'static rustls::SupportedProtocolVersion,
    issued: &dqlite_testkit::certificates::Issued,
) -> (Vec<u8>, String) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(place.signer.pem().as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = dial(place);
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    let mut session = Session::new(Limits::default());
    session.queue(&Request::Leader).unwrap();
    let mut seen = Vec::new();
    let written = stream.write_all(session.output());
    let read = stream.read_to_end(&mut seen);
    let error = written.err().or(read.err());
    (
        seen,
        error.map_or_else(String::new, |error| error.to_string()),
    )
}

#[test]
fn half_a_handshake_is_closed_in_time() {
    let place = Place::start(1);
    let mut stream = dial(&place);
    // The head of a ClientHello, which never comes.
    stream
        .write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])
        .unwrap();
    let began = Instant::now();
    let mut seen = Vec::new();
    stream.read_to_end(&mut seen).unwrap();
    assert!(seen.len() <= 7, "{seen:02x?}");
    let took = began.elapsed();
    assert!(took > Duration::from_secs(1), "{took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn a_raft_stream_by_the_certificate_of_another_host_is_refused() {
    let place = Place::start(1);
    let address = place.address(0).to_owned();
    let id = place.nodes[0].id();
    let other = place.signer.issue(&["10.9.9.9"]);
    let connects = |files: Files| {
        let identity = Identity::load(&files).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let socket = tokio::net::TcpStream::connect(&address).await.unwrap();
            let mut stream = stream::connect(&identity, HOST, socket).await.unwrap();
            let mut message = 1_u64.to_le_bytes().to_vec();
            let connect = Request::Connect {
                id,
                address: &address,
            };
            connect.encode(0, &mut message).unwrap();
            stream.write_all(&message).await.unwrap();
            stream.flush().await.unwrap();
            // A stream that is taken stays open and says nothing.
            let mut byte = [0];
            let read = stream.read(&mut byte);
            tokio::time::timeout(Duration::from_secs(3), read).await
        })
    };
    let refused = connects(place.issue("elsewhere", &other));
    assert!(matches!(refused, Ok(Ok(0) | Err(_))), "{refused:?}");
    let taken = connects(place.files("node"));
    assert!(taken.is_err(), "{taken:?}");
}

#[test]
fn administration_can_be_narrowed() {
    let patterns = serde_json::json!(["127.0.0.1", "*.ops.example"]);
    let place = Place::describe(1, |builder| builder.option("tls_admin", patterns.clone()));
    place.start_all();
    let config = place.client(place.files("app"));
    Connection::open(&config)
        .unwrap()
        .execute("CREATE TABLE t (n)", ())
        .unwrap();
    let dumped = dqlite::blocking::Admin::new(&config).dump("app");
    let error = dumped.unwrap_err().to_string();
    assert!(error.contains("not authorized"), "{error}");
    let operator = place.issue("operator", &place.signer.issue(&["a.ops.example"]));
    let files = dqlite::blocking::Admin::new(&place.client(operator)).dump("app");
    assert!(!files.unwrap().is_empty());
}

/// Passes bytes on in pieces of one to seven, both ways.
fn in_pieces(to: String) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let carry = |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            let mut piece = [0; 7];
            for turn in 0.. {
                let size = turn % piece.len() + 1;
                match from.read(&mut piece[..size]) {
                    Ok(read @ 1..) if to.write_all(&piece[..read]).is_ok() => {}
                    _ => return to.shutdown(std::net::Shutdown::Write),
                }
            }
            Ok(())
        })
    };
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(&to).unwrap();
            far.set_nodelay(true).unwrap();
            near.set_nodelay(true).unwrap();
            carry(near.try_clone().unwrap(), far.try_clone().unwrap());
            carry(far, near);
        }
    });
    address
}

#[test]
fn records_in_pieces_are_put_together() {
    let place = Place::start(1);
    let through: Address = in_pieces(place.address(0).to_owned()).parse().unwrap();
    let config = place.client(place.files("app"));
    let deadline = || Instant::now() + Duration::from_secs(20);
    let standing = dqlite_client::blocking::probe(&config, &through, deadline()).unwrap();
    assert_eq!(standing.members.len(), 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let asked = dqlite_client::cluster::tokio::probe(&config, &through, deadline());
    assert_eq!(runtime.block_on(asked).unwrap(), standing);
}
