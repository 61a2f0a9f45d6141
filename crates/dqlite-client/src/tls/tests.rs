//! Certificates that will do, and those that will not, with the reason.

use std::fs;
use std::time::Duration;

use dqlite_testkit::certificates::Authority;
use tempfile::TempDir;

use super::*;

const HOST: &str = "127.0.0.1";

struct Place {
    folder: TempDir,
    signer: Authority,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = Authority::new("test CA");
        signer.write(&folder.path().join("ca.pem")).unwrap();
        Self { folder, signer }
    }

    fn files(&self, names: &[&str]) -> Files {
        let written = self.signer.issue(names).write(self.folder.path(), "node");
        let written = written.unwrap();
        Files::new(self.folder.path().join("ca.pem")).with_identity(written.cert, written.key)
    }
}

#[test]
fn a_good_set_says_what_it_is() {
    let place = Place::new();
    let tls = Tls::for_node(place.files(&[HOST, "db1"]), HOST).unwrap();
    let identity = tls.identity();
    let own = identity.own().unwrap();
    assert_eq!(own.names, [HOST, "db1"]);
    assert!(own.subject.ends_with("CN=127.0.0.1"), "{}", own.subject);
    assert!(own.issuer.ends_with("CN=test CA"), "{}", own.issuer);
    assert!(own.left(std::time::SystemTime::now()) > Some(Duration::from_hours(300 * 24)));
    let peer = identity.own_as_peer().unwrap();
    assert!(peer.covers("127.0.0.1") && peer.covers("db1"));
    assert!(!peer.covers("db2") && !peer.covers("127.0.0.2") && !peer.covers(""));
}

#[test]
fn each_wrong_file_is_named_with_the_check_that_failed() {
    let place = Place::new();
    let good = place.files(&[HOST]);
    let path = |name: &str| place.folder.path().join(name);
    let other = Authority::new("old CA");
    let write = |name: &str, issued: dqlite_testkit::certificates::Issued| {
        issued.write(place.folder.path(), name).unwrap()
    };
    let two_days = Duration::from_hours(49);
    let expired = write("expired", place.signer.issue_expired(&[HOST], two_days));
    let stranger = write("stranger", other.issue(&[HOST]));
    let elsewhere = write("elsewhere", place.signer.issue(&["a", "b"]));
    fs::write(path("empty.pem"), "nothing").unwrap();
    fs::write(
        path("locked.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let with = |cert: &std::path::Path, key: &std::path::Path| {
        good.clone().with_identity(cert.to_owned(), key.to_owned())
    };
    let cases = [
        (Files::new(path("none.pem")), "none.pem: no such file"),
        (
            Files::new(path("empty.pem")),
            "empty.pem: holds no certificate in PEM",
        ),
        (
            with(&path("empty.pem"), &path("node.key")),
            "empty.pem: holds no certificate",
        ),
        (
            with(&path("node.pem"), &path("empty.pem")),
            "empty.pem: holds no private key",
        ),
        (
            with(&path("node.pem"), &path("locked.key")),
            "locked.key: the key is encrypted",
        ),
        (
            with(&path("node.pem"), &stranger.key),
            "stranger.key: does not match the certificate",
        ),
        (
            with(&expired.cert, &expired.key),
            "expired.pem: certificate expired 2 days ago",
        ),
        (
            with(&stranger.cert, &stranger.key),
            "stranger.pem: certificate is signed by \"CN=old CA\", which is not in",
        ),
        (
            with(&elsewhere.cert, &elsewhere.key),
            "elsewhere.pem: certificate is for a, b; the others dial 127.0.0.1",
        ),
    ];
    for (files, wanted) in cases {
        let error = Tls::for_node(files, HOST).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}\nwanted {wanted}");
    }
    let half = Files { key: None, ..good };
    let error = Tls::load(half).unwrap_err().to_string();
    assert_eq!(error, "a certificate is given without its key");
}

#[test]
fn a_changed_set_is_used_only_when_it_is_complete() {
    let place = Place::new();
    let tls = Tls::for_node(place.files(&[HOST]), HOST).unwrap();
    assert_eq!(tls.reload(false), Ok(false));
    // The key comes later than its certificate.
    let next = place.signer.issue(&[HOST, "next"]);
    fs::write(place.folder.path().join("node.pem"), &next.cert).unwrap();
    let error = tls.reload(false).unwrap_err().to_string();
    assert!(error.contains("does not match"), "{error}");
    assert_eq!(tls.reload(false), Ok(false), "said once");
    assert_eq!(tls.identity().own().unwrap().names, [HOST]);
    fs::write(place.folder.path().join("node.key"), &next.key).unwrap();
    assert_eq!(tls.reload(false), Ok(true));
    assert_eq!(tls.identity().own().unwrap().names, [HOST, "next"]);
}
