//! How fast the codec is: `make bench-codec`.

mod scenario;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dqlite_proto::sql;
use scenario::{Ask, Decode, Encode, POINT_QUERY, Watch};

const ROWS: usize = 100_000;

fn rows(c: &mut Criterion) {
    let wire = Decode::wire(ROWS);
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(wire.len() as u64));
    group.sample_size(20);
    group.bench_function("100000 rows of 5 columns", |b| {
        b.iter_batched_ref(
            Decode::new,
            |decode| assert_eq!(decode.run(&wire), ROWS * 5),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn requests(c: &mut Criterion) {
    let mut encode = Encode::default();
    c.bench_function("encode a point query", |b| b.iter(|| encode.run()));
    let mut ask = Ask::new();
    c.bench_function("a point query through a session", |b| b.iter(|| ask.run()));
    c.bench_function("lex a point query", |b| {
        b.iter(|| black_box(sql::statements(black_box(POINT_QUERY)).next()));
    });
}

fn guarding(c: &mut Criterion) {
    let mut prepared = Watch::prepared();
    c.bench_function("guard a prepared statement and its reply", |b| {
        b.iter(|| prepared.run());
    });
    let mut text = Watch::text("DELETE FROM people WHERE id = ?");
    c.bench_function("guard a statement as text and its reply", |b| {
        b.iter(|| text.run());
    });
    let mut text = Watch::text("UPDATE sizes SET age = 1 WHERE id = ?");
    c.bench_function("guard a text with G and Z and its reply", |b| {
        b.iter(|| text.run());
    });
}

criterion_group!(benches, rows, requests, guarding);
criterion_main!(benches);
