use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::source::testing::parser;

/// (line number, bytes, fault) of every row, with rows of at most `limit` bytes.
fn rows_of(text: &[u8], limit: usize) -> Vec<(u64, Vec<u8>, Option<RowFault>)> {
    let mut rows = CsvRows::open(text, &parser(), limit).expect("a header");
    let mut all = Vec::new();
    while let Some((found, bytes)) = rows.next().expect("memory can be read") {
        all.push((found.number, bytes.to_vec(), found.fault));
    }
    all
}

fn json_of(text: &str) -> Vec<Value> {
    let read = |(_, bytes, fault): (u64, Vec<u8>, Option<RowFault>)| {
        assert_eq!(fault, None);
        serde_json::from_slice(&bytes).expect("it is JSON")
    };
    rows_of(text.as_bytes(), 1 << 20).into_iter().map(read).collect()
}

/// Lines and what is wrong with them.
fn faults(text: &str, limit: usize) -> Vec<(u64, bool)> {
    rows_of(text.as_bytes(), limit)
        .into_iter()
        .map(|(number, _, fault)| (number, fault.is_some()))
        .collect()
}

#[test]
fn a_row_becomes_an_object_of_texts_and_an_empty_cell_null() {
    let want = serde_json::json!([{ "t": "1", "m": null, "": "a \"b\"" }, { "t": "2", "m": "3", "": "x\ny" }]);
    let comma = "t, m,\r\n1,,\"a \"\"b\"\"\"\r\n\r\n 2 ,3,\"x\r\ny\"";
    assert_eq!(Value::Array(json_of(comma)), want);
    for delimiter in [";", "\t", "|"] {
        assert_eq!(
            Value::Array(json_of(&comma.replace(',', delimiter))),
            want,
            "{delimiter}"
        );
    }
}

#[test]
fn the_delimiter_is_what_the_header_has_most_of() {
    for (header, want) in [
        ("t,m", b','),
        ("t;m", b';'),
        ("t\tm\tx, or y", b'\t'),
        ("\"a;b;c\",t", b','),
        ("t", b','),
        ("a;b,c", b','),
    ] {
        assert_eq!(delimiter_of(header.as_bytes()), want, "{header}");
    }
}

#[test]
fn a_bad_row_costs_itself_alone() {
    let uneven = "t,m\n1,2\n1\n1,2,3\n1,2\n";
    assert_eq!(faults(uneven, 100), [(2, false), (3, true), (4, true), (5, false)]);
    let stray = "t,m\n1,2\n1,\"2\n1,2\n1,3\n";
    assert_eq!(
        faults(stray, 100),
        [(2, false), (3, true), (4, false), (5, false)],
        "to the end of the file"
    );
    let closed_late = "t,m\n1,\"2\n1,2\n1,\"4\"\n1,5\n";
    assert_eq!(
        faults(closed_late, 100),
        [(2, true), (3, false), (4, false), (5, false)]
    );
    let long = format!("t,m\n1,\"2\n{}1,3\n", "1,2\n".repeat(20));
    let found = faults(&long, 30);
    assert_eq!(found.len(), 22, "to the longest record");
    assert!(found[0].1 && found[1..].iter().all(|(_, fault)| !fault));
}

#[test]
fn a_row_longer_than_the_limit_tells_its_length() {
    let text = format!("t,m\n1,{}\n1,2\n", "9".repeat(500));
    let rows = rows_of(text.as_bytes(), 100);
    assert_eq!((rows[0].1.len(), rows.len()), (100, 2));
    let mut again = CsvRows::open(text.as_bytes(), &parser(), 100).expect("a header");
    let (found, _) = again.next().expect("readable").expect("a row");
    assert_eq!((found.length, found.fault), (502, None));
}

#[test]
fn what_is_no_header_is_refused_without_being_quoted() {
    for text in [&b"t,m\xff\n"[..], b"t,\"m\n"] {
        let error = CsvRows::open(text, &parser(), 100).err().expect("refused");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
    assert!(CsvRows::open(&b"x,m\n"[..], &parser(), 100).is_ok_and(|rows| rows.missing.is_some()));
    assert!(CsvRows::open(&b""[..], &parser(), 100).is_ok_and(|mut rows| rows.next().is_ok_and(|row| row.is_none())));
}

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[ -~äß]{0,12}", "[\",;\n x]{0,6}"]
}

proptest! {
    #[test]
    fn what_a_csv_writer_writes_comes_back(
        rows in proptest::collection::vec(proptest::collection::vec(cell(), 3), 0..20),
        delimiter in prop::sample::select(DELIMITERS.to_vec()),
        crlf in any::<bool>(), mark in any::<bool>(),
    ) {
        let names = ["t", "m \"x\"", "long name"];
        let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).terminator(terminator).from_writer(Vec::new());
        writer.write_record(names).expect("memory takes all");
        for row in &rows {
            writer.write_record(row).expect("memory takes all");
        }
        let mut text = if mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        text.extend(writer.into_inner().expect("memory takes all"));
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);

        let value = |cell: &String| match cell.trim_matches([' ', '\n']) {
            "" => Value::Null,
            text => Value::String(text.into()),
        };
        let object = |row: &Vec<String>| -> Value {
            names.iter().zip(row).map(|(name, cell)| ((*name).to_owned(), value(cell))).collect::<Map<_, _>>().into()
        };
        let want: Vec<Value> = rows.iter().map(object).collect();
        prop_assert_eq!(json_of(std::str::from_utf8(text).expect("it was made of text")), want);
    }

    #[test]
    fn any_bytes_are_rows_that_end(text in proptest::collection::vec(prop::sample::select(b"t,;\"\"\n\n\r1 \xff".to_vec()), 0..200)) {
        let text = [&b"t,m\n"[..], &text].concat();
        let rows = rows_of(&text, 20);
        let lines = text.split(|byte| *byte == b'\n').count();
        prop_assert!(rows.len() < lines);
        prop_assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "every row has a line of its own");
    }
}
