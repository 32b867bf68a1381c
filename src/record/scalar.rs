//! One value of a record as it stood in the JSON, and its reading as a measure.

use std::borrow::Cow;

use serde_json::Value;

/// A scalar of the input, borrowed from it where possible.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Truth,
    Integer(i64),
    Float(f64),
    Text(Cow<'a, str>),
    /// An array or an object where a scalar was wanted.
    Nested,
}

impl Scalar<'_> {
    /// A measure: a number or a quoted number that is finite also as a 32-bit float; NaN for null.
    ///
    /// The error says what stood there instead, without quoting it.
    pub(super) fn as_measure(&self) -> Result<f64, &'static str> {
        let number = match self {
            Scalar::Null => return Ok(f64::NAN),
            Scalar::Integer(n) => *n as f64,
            Scalar::Float(f) => *f,
            Scalar::Text(text) => text.trim().parse().map_err(|_| "text that is not a number")?,
            Scalar::Truth => return Err("true or false, not a number"),
            Scalar::Nested => return Err("an array or object, not a number"),
        };
        if (number as f32).is_finite() {
            Ok(number)
        } else {
            Err("not a finite 32-bit number")
        }
    }
}

impl<'a> From<&'a Value> for Scalar<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Scalar::Null,
            Value::Bool(_) => Scalar::Truth,
            Value::String(text) => Scalar::Text(text.as_str().into()),
            Value::Array(_) | Value::Object(_) => Scalar::Nested,
            Value::Number(number) => match number.as_i64() {
                Some(n) => Scalar::Integer(n),
                None => Scalar::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
        }
    }
}

/// A JSON value as a measure: `None` where a record with it would be refused, NaN for null.
pub fn measure_of(value: &Value) -> Option<f64> {
    Scalar::from(value).as_measure().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_is_a_number_a_quoted_number_or_missing() {
        assert_eq!(Scalar::Text(" 98.6 ".into()).as_measure(), Ok(98.6));
        assert_eq!(Scalar::Integer(-3).as_measure(), Ok(-3.0));
        assert!(Scalar::Null.as_measure().is_ok_and(f64::is_nan));
        for text in ["", "NaN", "inf", "-infinity", "1e39", "0x10", "12 mmHg"] {
            assert!(Scalar::Text(text.into()).as_measure().is_err(), "{text:?}");
        }
        assert!(Scalar::Float(3.5e38).as_measure().is_err());
        assert!(Scalar::Truth.as_measure().is_err());
        assert!(Scalar::Nested.as_measure().is_err());
    }
}
