use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int64Array,
    LargeStringArray, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt8Array,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::source::testing::parser;

fn file_of(columns: Vec<(&str, ArrayRef)>, group: usize) -> File {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .expect("columns of one length");
    let file = tempfile::tempfile().expect("a temporary file");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .build();
    let mut writer =
        ArrowWriter::try_new(file.try_clone().expect("a handle"), batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    file
}

fn open(columns: Vec<(&str, ArrayRef)>) -> io::Result<ParquetRows> {
    ParquetRows::open(file_of(columns, 1000), &parser(), &Arc::default())
}

fn rows_of(mut rows: ParquetRows) -> Vec<Value> {
    let mut all = Vec::new();
    while let Some((found, bytes)) = rows.next().expect("readable") {
        assert_eq!((found.number, found.length), (all.len() as u64 + 1, bytes.len() as u64));
        all.push(serde_json::from_slice(bytes).expect("it is JSON"));
    }
    all
}

fn column_of(column: ArrayRef) -> Vec<Value> {
    let rows = rows_of(open(vec![("t", column)]).expect("a type that is read"));
    rows.into_iter().map(|row| row["t"].clone()).collect()
}

#[test]
fn every_type_has_its_json() {
    let column = |array: ArrayRef, want: Value| assert_eq!(Value::Array(column_of(array)), want);
    column(
        Arc::new(Int64Array::from(vec![Some(i64::MIN), None])),
        json!([i64::MIN, null]),
    );
    column(Arc::new(UInt8Array::from(vec![Some(7)])), json!([7]));
    column(
        Arc::new(Float64Array::from(vec![
            Some(98.6),
            Some(1e300),
            Some(-0.0),
            Some(f64::NAN),
            Some(f64::INFINITY),
            None,
        ])),
        json!([98.6, 1e300, -0.0, null, null, null]),
    );
    column(Arc::new(Float32Array::from(vec![98.5])), json!([98.5]));
    column(
        Arc::new(BooleanArray::from(vec![Some(true), None])),
        json!([true, null]),
    );
    column(
        Arc::new(StringArray::from(vec![Some("a\"b"), Some(""), None])),
        json!(["a\"b", "", null]),
    );
    column(Arc::new(LargeStringArray::from(vec!["ä"])), json!(["ä"]));
    column(
        Arc::new(StringViewArray::from(vec!["a text longer than twelve"])),
        json!(["a text longer than twelve"]),
    );
    let texts: DictionaryArray<Int32Type> = [Some("x"), None, Some("y"), Some("x")].into_iter().collect();
    column(Arc::new(texts), json!(["x", null, "y", "x"]));
    column(
        Arc::new(Date32Array::from(vec![Some(17_454), Some(-1)])),
        json!(["2017-10-15", "1969-12-31"]),
    );
    let decimal = Decimal128Array::from(vec![Some(-1234), None])
        .with_precision_and_scale(10, 2)
        .expect("it fits");
    column(Arc::new(decimal), json!([-12.34, null]));
}

#[test]
fn a_timestamp_is_an_instant_or_a_wall_clock_in_microseconds() {
    let (instant, wall) = ("2017-10-15T03:55:51.778000Z", "2017-10-15T03:55:51.778000");
    let column = |array: ArrayRef, want: &str| assert_eq!(column_of(array), [want]);
    let millis = 1_508_039_751_778;
    column(
        Arc::new(TimestampMillisecondArray::from(vec![millis]).with_timezone("Europe/Berlin")),
        instant,
    );
    column(Arc::new(TimestampMillisecondArray::from(vec![millis])), wall);
    column(Arc::new(TimestampMicrosecondArray::from(vec![millis * 1000])), wall);
    column(
        Arc::new(TimestampNanosecondArray::from(vec![millis * 1_000_000 + 999])),
        wall,
    );
    column(
        Arc::new(TimestampNanosecondArray::from(vec![-1])),
        "1969-12-31T23:59:59.999999",
    );
    column(
        Arc::new(TimestampSecondArray::from(vec![1_508_039_751]).with_timezone("UTC")),
        "2017-10-15T03:55:51.000000Z",
    );
}

#[test]
fn structs_nest_and_what_has_no_json_is_left_out_or_refused() {
    let inner = StructArray::try_from(vec![
        ("m", Arc::new(Float64Array::from(vec![Some(1.5), None])) as ArrayRef),
        ("x", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
    ])
    .expect("columns of one length");
    let mut lists = ListBuilder::new(Int64Builder::new());
    lists.append_value([Some(1)]);
    lists.append_null();
    let lists: ArrayRef = Arc::new(lists.finish());
    let times: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let rows = rows_of(
        open(vec![
            ("t", times.clone()),
            ("list", lists.clone()),
            ("s", Arc::new(inner)),
        ])
        .expect("readable"),
    );
    assert_eq!(
        rows,
        [
            json!({"t": 1, "s": {"m": 1.5, "x": "a"}}),
            json!({"t": 2, "s": {"m": null, "x": "b"}})
        ]
    );

    let error = open(vec![("t", times.clone()), ("m", lists)])
        .err()
        .expect("a measure that is a list");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("column m"), "{error}");
    assert!(open(vec![("other", times)]).is_ok_and(|rows| rows.missing.is_some()));
}

#[test]
fn what_is_no_parquet_is_damaged() {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(b"PAR1 and no more").expect("written");
    let error = ParquetRows::open(file, &parser(), &Arc::default())
        .err()
        .expect("refused");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_row_of_every_group_comes_back(
        values in proptest::collection::vec(proptest::option::of(any::<f64>()), 0..3000), group in 1usize..2000,
    ) {
        let times: ArrayRef = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
        let measures: ArrayRef = Arc::new(Float64Array::from(values.clone()));
        let file = file_of(vec![("t", times), ("m", measures)], group);
        let size = file.metadata().expect("a file").len();
        let progress = Arc::default();
        let rows = rows_of(ParquetRows::open(file, &parser(), &progress).expect("Parquet"));
        prop_assert_eq!(rows.len(), values.len());
        for (i, (row, value)) in rows.iter().zip(&values).enumerate() {
            prop_assert_eq!(row["t"].as_u64(), Some(i as u64));
            let want = value.filter(|value| value.is_finite()).map(f64::to_bits);
            prop_assert_eq!(row["m"].as_f64().map(f64::to_bits), want);
        }
        if !values.is_empty() {
            prop_assert_eq!(progress.bytes_read(), size);
        }
    }
}
