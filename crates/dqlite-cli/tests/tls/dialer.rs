//! TLS through connections that the application opens itself.

use std::sync::Arc;

use dqlite::dialer::{Dialer, Dialling, Socket};
use dqlite::{Address, AttemptKind, Config, connect};
use dqlite_testkit::certificates::Authority;

use super::Place;

/// A tunnel that leads where it should.
#[derive(Debug)]
struct Tunnel;

impl Dialer for Tunnel {
    fn dial(&self, address: &Address) -> Dialling {
        let target = address.to_string();
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(target).await?;
            Ok(Box::new(stream) as Box<dyn Socket>)
        })
    }
}

#[test]
fn what_a_dialer_opens_is_encrypted_and_verified() {
    let place = Place::start(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let dialled = |config: Config| {
        runtime.block_on(async {
            let config = config.with_dialer(Arc::new(Tunnel));
            let mut connection = connect(&config).await?;
            connection.query_one("SELECT 1", ()).await
        })
    };
    let row = dialled(place.client(place.files("app"))).unwrap();
    assert_eq!(row.get::<i64>(0).unwrap(), 1);
    Authority::new("other CA")
        .write(&place.path("other.pem"))
        .unwrap();
    let mut files = place.files("app");
    files.ca = place.path("other.pem").into();
    let soon = std::time::Duration::from_secs(2);
    for config in [place.client(files), place.plain()] {
        let error = dialled(config.with_connect_timeout(soon)).unwrap_err();
        assert_eq!(error.attempts()[0].kind, AttemptKind::Tls, "{error}");
    }
}
