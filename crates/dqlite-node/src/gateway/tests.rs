//! A relay between a client with a small window and an engine played by the test.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dqlite_proto::frame::HANDSHAKE;
use dqlite_proto::guard::Policy;
use dqlite_proto::rows::{DONE, PART};
use dqlite_proto::{
    Capabilities, Code, Failure, Header, Params, Request, RequestKind, Response, ResponseKind,
    ValueRef,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::counters::Counters;
use super::quiet::Quiet;
use super::relay::{self, Phase, Surroundings};
use super::talk::{Limits, Rules};
use crate::peers::Peers;

struct Rig {
    client: DuplexStream,
    engine: UnixStream,
    phase: watch::Sender<Phase>,
    counters: Arc<Counters>,
    relay: JoinHandle<()>,
}

impl Rig {
    async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        let (client, near) = duplex(1024);
        let (engine, far) = UnixStream::pair().unwrap();
        let (phase, phases) = watch::channel(Phase::Serving);
        let permits = Arc::new(Semaphore::new(1));
        let permit = permits.try_acquire_owned().unwrap();
        let counters = Arc::new(Counters::default());
        let rules = Rules::new(Policy::default(), limits, 2, Arc::clone(&counters));
        let around = Surroundings {
            rules: Arc::new(rules),
            phase: phases,
            peers: Arc::new(Peers::new(1, "127.0.0.1:9001", Path::new("/nowhere"))),
            patience: Duration::from_secs(5),
        };
        let far = Quiet::new(far.into_std().unwrap()).unwrap();
        let relay = tokio::spawn(async move {
            relay::run(near, far, &HANDSHAKE.to_le_bytes(), permit, around).await;
        });
        let mut rig = Self {
            client,
            engine,
            phase,
            counters,
            relay,
        };
        assert_eq!(rig.engine.read_u64_le().await.unwrap(), HANDSHAKE);
        rig
    }

    async fn asks(&mut self, requests: &[Request<'_>]) {
        let mut bytes = Vec::new();
        for request in requests {
            request.encode(0, &mut bytes).unwrap();
        }
        self.client.write_all(&bytes).await.unwrap();
    }

    /// The next request that the engine sees.
    async fn sees(&mut self) -> (RequestKind, Vec<u8>) {
        let (header, body) = message(&mut self.engine).await;
        (RequestKind(header.kind), body)
    }

    async fn answers(&mut self, response: &Response) {
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        self.engine.write_all(&bytes).await.unwrap();
    }

    /// The next message that the client gets.
    async fn gets(&mut self) -> (ResponseKind, Vec<u8>) {
        let (header, body) = message(&mut self.client).await;
        (ResponseKind(header.kind), body)
    }

    async fn gets_failure(&mut self) -> Failure {
        let (kind, body) = self.gets().await;
        assert_eq!(kind, ResponseKind::FAILURE);
        dqlite_proto::reply::failure(&body, 1000).unwrap()
    }

    fn refused(&self, reason: &str) -> u64 {
        let refused = self.counters.snapshot().refused;
        let found = refused.iter().find(|(name, _)| *name == reason);
        found.unwrap().1
    }
}

async fn message<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> (Header, Vec<u8>) {
    let mut header = [0; 8];
    stream.read_exact(&mut header).await.unwrap();
    let header = Header::decode(header);
    let mut body = vec![0; usize::try_from(header.body_bytes()).unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    (header, body)
}

fn server() -> Response {
    Response::Server {
        id: 1,
        address: "a:1".to_owned(),
    }
}

fn failed(code: Code, message: &str) -> Response {
    Response::Failure(Failure {
        code,
        message: message.to_owned(),
    })
}

fn query(sql: &str) -> Request<'_> {
    Request::QuerySql {
        sql,
        params: dqlite_proto::ParamsRef::NONE,
    }
}

/// A frame of one column named `n` with so many words of rows.
fn rows(words: u32, last: u64) -> Vec<u8> {
    let header = Header {
        words: words + 3,
        kind: ResponseKind::ROWS.0,
        schema: 0,
    };
    let mut bytes = header.encode().to_vec();
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(*b"n\0\0\0\0\0\0\0");
    bytes.resize(bytes.len() + words as usize * 8, 7);
    bytes.extend(last.to_le_bytes());
    bytes
}

#[tokio::test]
async fn replies_of_the_engine_and_refusals_come_in_the_order_of_requests() {
    let mut rig = Rig::new().await;
    let memory = Request::Open {
        name: ":memory:",
        flags: 0,
        vfs: "",
    };
    rig.asks(&[Request::Leader, memory, Request::Leader]).await;
    assert_eq!(rig.sees().await.0, RequestKind::LEADER);
    assert_eq!(rig.sees().await.0, RequestKind::LEADER);
    rig.answers(&server()).await;
    assert_eq!(rig.gets().await.0, ResponseKind::SERVER);
    assert_eq!(rig.gets_failure().await.code, Code::ERROR);
    rig.answers(&server()).await;
    assert_eq!(rig.gets().await.0, ResponseKind::SERVER);
    assert_eq!(rig.refused("database_name"), 1);
    drop(rig.client);
    rig.relay.await.unwrap();
    assert_eq!(rig.engine.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn the_mark_behind_an_open_is_no_business_of_the_client() {
    let mut rig = Rig::new().await;
    rig.asks(&[Request::open("a"), Request::Client { id: 1 }])
        .await;
    assert_eq!(rig.sees().await.0, RequestKind::OPEN);
    let (kind, body) = rig.sees().await;
    assert_eq!(kind, RequestKind::PREPARE);
    assert!(body[8..].starts_with(b"--dqlite "));
    assert_eq!(rig.sees().await.0, RequestKind::CLIENT);
    rig.answers(&Response::Db { id: 0 }).await;
    rig.answers(&failed(Code::OK, "empty statement")).await;
    let heartbeat_timeout_ms = 15_000;
    rig.answers(&Response::Welcome {
        heartbeat_timeout_ms,
    })
    .await;
    assert_eq!(rig.gets().await.0, ResponseKind::DB);
    let (kind, body) = rig.gets().await;
    assert_eq!(kind, ResponseKind::WELCOME);
    assert_eq!(body, Capabilities::OURS.to_welcome().to_le_bytes());
}

#[tokio::test]
async fn more_databases_than_there_is_room_for_are_refused() {
    let mut rig = Rig::new().await;
    for name in ["a", "b"] {
        rig.asks(&[Request::open(name)]).await;
        rig.sees().await;
        rig.sees().await;
        rig.answers(&failed(Code::NOT_LEADER, "not leader")).await;
        rig.answers(&failed(Code::NOT_LEADER, "not leader")).await;
        assert_eq!(rig.gets_failure().await.code, Code::NOT_LEADER);
    }
    rig.asks(&[Request::open("c"), Request::open("a")]).await;
    assert_eq!(
        rig.gets_failure().await.message,
        "refused: too many databases"
    );
    assert_eq!(rig.sees().await.0, RequestKind::OPEN);
}

#[tokio::test]
async fn a_vanished_client_s_result_is_read_to_its_end() {
    let mut rig = Rig::new().await;
    rig.asks(&[query("SELECT 1")]).await;
    rig.sees().await;
    rig.engine.write_all(&rows(512, PART)).await.unwrap();
    drop(rig.client);
    for _ in 0..1000 {
        rig.engine.write_all(&rows(512, PART)).await.unwrap();
    }
    assert!(!rig.relay.is_finished(), "the result is not complete");
    rig.engine.write_all(&rows(2, DONE)).await.unwrap();
    rig.relay.await.unwrap();
    assert_eq!(rig.counters.snapshot().abandoned, 1);
}

#[tokio::test]
async fn a_draining_gateway_answers_what_was_asked_and_no_more() {
    let mut rig = Rig::new().await;
    rig.asks(&[Request::Leader]).await;
    rig.sees().await;
    rig.phase.send_replace(Phase::Draining);
    tokio::task::yield_now().await;
    assert!(!rig.relay.is_finished(), "a reply is owed");
    rig.answers(&server()).await;
    assert_eq!(rig.gets().await.0, ResponseKind::SERVER);
    assert_eq!(rig.client.read(&mut [0; 8]).await.unwrap(), 0);
    rig.relay.await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_the_rest_thrown_away() {
    let mut rig = Rig::new().await;
    rig.asks(&[query("SELECT 1")]).await;
    rig.sees().await;
    rig.phase.send_replace(Phase::Cutting);
    for _ in 0..1000 {
        rig.engine.write_all(&rows(512, PART)).await.unwrap();
    }
    rig.engine.write_all(&rows(2, DONE)).await.unwrap();
    rig.relay.await.unwrap();
}

#[tokio::test]
async fn nothing_follows_an_interrupt_before_it_is_answered() {
    let mut rig = Rig::new().await;
    let (endless, interrupt) = (query("SELECT 1"), Request::Interrupt);
    rig.asks(&[endless, interrupt, Request::Leader]).await;
    assert_eq!(rig.sees().await.0, RequestKind::QUERY_SQL);
    assert_eq!(rig.sees().await.0, RequestKind::INTERRUPT);
    rig.answers(&failed(Code::INTERRUPT, "interrupted")).await;
    assert_eq!(rig.gets_failure().await.code, Code::INTERRUPT);
    let mut byte = [0; 1];
    assert!(rig.engine.try_read(&mut byte).is_err(), "held back");
    rig.answers(&Response::Empty).await;
    assert_eq!(rig.gets().await.0, ResponseKind::EMPTY);
    assert_eq!(rig.sees().await.0, RequestKind::LEADER);
    assert_eq!(rig.counters.snapshot().interrupts, 1);
}

#[tokio::test]
async fn a_statement_over_its_limit_is_told_which_one() {
    let statement = Some(Duration::from_millis(20));
    let limits = Limits {
        statement,
        ..Limits::default()
    };
    let mut rig = Rig::with(limits).await;
    rig.asks(&[query("SELECT 1")]).await;
    rig.sees().await;
    while rig.counters.snapshot().timeouts == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.answers(&failed(Code::INTERRUPT, "interrupted")).await;
    let failure = rig.gets_failure().await;
    assert_eq!(failure.code, Code::INTERRUPT);
    assert!(
        failure
            .message
            .contains("statement_timeout, which is 0.02 s")
    );
}

#[tokio::test]
async fn a_result_without_rows_that_does_not_end_is_a_failure() {
    let mut rig = Rig::new().await;
    rig.asks(&[query("SELECT 1"), Request::Leader]).await;
    rig.sees().await;
    rig.sees().await;
    for _ in 0..3 {
        rig.engine.write_all(&rows(0, PART)).await.unwrap();
    }
    rig.answers(&failed(Code::IOERR, "leader exec failed"))
        .await;
    rig.answers(&server()).await;
    let failure = rig.gets_failure().await;
    assert!(
        failure.message.contains("names of the columns"),
        "{failure}"
    );
    assert_eq!(rig.gets().await.0, ResponseKind::SERVER);
}

#[tokio::test]
async fn a_failure_behind_half_a_result_is_made_plain() {
    let mut rig = Rig::new().await;
    rig.asks(&[query("SELECT 1")]).await;
    rig.sees().await;
    let mut plain = Vec::new();
    failed(Code::CONSTRAINT, "UNIQUE constraint failed: t.id").encode(&mut plain);
    let mut body = vec![0; 200_000];
    body.extend(&plain[8..]);
    let header = Header {
        words: u32::try_from(body.len() / 8).unwrap(),
        kind: ResponseKind::FAILURE.0,
        schema: 0,
    };
    rig.engine.write_all(&header.encode()).await.unwrap();
    rig.engine.write_all(&body).await.unwrap();
    let (kind, body) = rig.gets().await;
    assert_eq!(kind, ResponseKind::FAILURE);
    assert_eq!(body, plain[8..]);
}

#[tokio::test]
async fn a_large_request_passes_while_it_comes_and_is_not_completed_if_it_is_malformed() {
    let mut rig = Rig::new().await;
    let blob = vec![7; 300_000];
    let mut params = Params::new();
    params.push(ValueRef::Blob(&blob)).unwrap();
    let insert = Request::ExecSql {
        sql: "INSERT INTO t VALUES (?)",
        params: params.as_ref(),
    };
    let mut bytes = Vec::new();
    insert.encode(0, &mut bytes).unwrap();
    let (client, engine) = (&mut rig.client, &mut rig.engine);
    let (sent, (header, body)) = tokio::join!(client.write_all(&bytes), message(engine));
    sent.unwrap();
    assert_eq!(header.encode(), bytes[..8]);
    assert_eq!(body, bytes[8..]);
    let at = bytes
        .windows(8)
        .position(|word| word == 300_000_u64.to_le_bytes())
        .unwrap();
    bytes[at..at + 8].copy_from_slice(&200_000_u64.to_le_bytes());
    let mut taken = Vec::new();
    let (client, engine) = (&mut rig.client, &mut rig.engine);
    let result = Response::Result {
        last_insert_id: 1,
        rows_affected: 1,
    };
    let mut answer = Vec::new();
    result.encode(&mut answer);
    engine.write_all(&answer).await.unwrap();
    let _ = tokio::join!(client.write_all(&bytes), engine.read_to_end(&mut taken));
    assert!(taken.len() < bytes.len());
    assert_eq!(rig.gets().await.0, ResponseKind::RESULT);
    assert_eq!(rig.gets_failure().await.code, Code::DQLITE_PARSE);
}

#[tokio::test]
async fn silence_half_messages_and_unread_replies_have_their_limits() {
    let short = Some(Duration::from_millis(20));
    let idle = Limits {
        idle: short,
        ..Limits::default()
    };
    let progress = Limits {
        progress: short,
        ..Limits::default()
    };
    let rig = Rig::with(idle).await;
    rig.relay.await.unwrap();
    assert_eq!(
        rig.counters
            .snapshot()
            .refused
            .iter()
            .map(|(_, n)| n)
            .sum::<u64>(),
        1
    );
    let mut rig = Rig::with(progress).await;
    rig.client.write_all(&[1, 0, 0]).await.unwrap();
    (&mut rig.relay).await.unwrap();
    assert_eq!(rig.refused("stalled"), 1);
    let mut rig = Rig::with(progress).await;
    rig.asks(&[query("SELECT 1")]).await;
    rig.sees().await;
    rig.engine.write_all(&rows(2000, PART)).await.unwrap();
    while rig.refused("slow_reader") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.engine.write_all(&rows(2, DONE)).await.unwrap();
    (&mut rig.relay).await.unwrap();
}

#[tokio::test]
async fn a_stream_between_nodes_is_not_opened_when_nobody_can_be_asked() {
    let mut rig = Rig::new().await;
    rig.asks(&[Request::Connect {
        id: 2,
        address: "b:1",
    }])
    .await;
    assert_eq!(rig.client.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(rig.refused("peer"), 1);
}
