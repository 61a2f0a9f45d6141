//! Every input that is known to kill, wedge, lock out or open a stock node, on nodes of ours:
//! nobody dies, the answer is the one of the remedy, and others go on writing.
//!
//! The rows that cost gigabytes or minutes are no tests: `make poison` runs them, and shows what a
//! stock engine does.

use std::collections::BTreeSet;

use dqlite_testkit::poison::{Cost, Kind, Row, TABLE, attempt, row};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");

fn survives(id: &str) {
    let Some(row) = row(id) else {
        panic!("no row {id}");
    };
    let report = attempt(&Kind::Ours(EXECUTABLE.into()), row);
    assert!(
        report.is_remedied(),
        "{id}, {}: {}\ncomplaints: {:#?}\nseen: {:#?}",
        row.input,
        report.state,
        report.complaints,
        report.seen
    );
}

macro_rules! rows {
    ($($test:ident = $id:literal,)*) => {
        $(#[test]
        fn $test() {
            survives($id);
        })*

        #[test]
        fn every_affordable_row_of_the_table_has_its_test() {
            let tests = BTreeSet::from([$($id),*]);
            let affordable = |row: &&Row| row.cost != Cost::Much;
            let rows = TABLE.iter().copied().flatten().filter(affordable);
            assert_eq!(tests, rows.map(|row| row.id).collect());
        }
    };
}

rows! {
    p1 = "P1",
    p2 = "P2",
    p3 = "P3",
    p4 = "P4",
    p5 = "P5",
    p6 = "P6",
    p7 = "P7",
    p8 = "P8",
    p9 = "P9",
    p10 = "P10",
    p11 = "P11",
    p12 = "P12",
    p13 = "P13",
    p14 = "P14",
    p15 = "P15",
    p16 = "P16",
    p17 = "P17",
    p18 = "P18",
    p19 = "P19",
    p20 = "P20",
    p21 = "P21",
    p22 = "P22",
    p23 = "P23",
    p24 = "P24",
    p25 = "P25",
    p26 = "P26",
    p27 = "P27",
    p28 = "P28",
    p29 = "P29",
    p30 = "P30",
    p30_three = "P30-3",
    p31 = "P31",
    p32 = "P32",
    p33 = "P33",
    p34 = "P34",
    p35 = "P35",
    p38 = "P38",
    p39 = "P39",
    p40 = "P40",
    p43 = "P43",
    p44 = "P44",
    p45 = "P45",
    p46 = "P46",
    p47 = "P47",
    p48 = "P48",
    p49 = "P49",
    p50 = "P50",
    p51 = "P51",
    p52 = "P52",
    p53 = "P53",
    p54 = "P54",
    p55 = "P55",
    p56 = "P56",
    p57 = "P57",
    p58 = "P58",
    p59 = "P59",
    p60 = "P60",
    p60_last = "P60-last",
    p60_voter = "P60-voter",
    p61 = "P61",
    p62 = "P62",
    p63 = "P63",
}
