//! Lines that are no usable record, one kind for each way in which real ones go wrong.

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Truncated,
    Array,
    NoTimestamp,
    NullTimestamp,
    UnreadableTimestamp,
    NoDevice,
    EmptyDevice,
    WordMeasure,
    NestedMeasure,
    HugeMeasure,
    NumberAsPatient,
    BrokenUtf8,
    TooDeep,
    OverLong,
}

impl Bad {
    /// The over-long one last: not every plan has it.
    pub(super) const ALL: [Bad; 14] = [
        Bad::Truncated,
        Bad::Array,
        Bad::NoTimestamp,
        Bad::NullTimestamp,
        Bad::UnreadableTimestamp,
        Bad::NoDevice,
        Bad::EmptyDevice,
        Bad::WordMeasure,
        Bad::NestedMeasure,
        Bad::HugeMeasure,
        Bad::NumberAsPatient,
        Bad::BrokenUtf8,
        Bad::TooDeep,
        Bad::OverLong,
    ];

    /// What stands in the place of a measure.
    pub(super) fn measure(self) -> Option<&'static [u8]> {
        match self {
            Bad::WordMeasure => Some(b"\"n/a\""),
            Bad::NestedMeasure => Some(b"{\"value\":1}"),
            Bad::HugeMeasure => Some(b"1e39"), // more than a 32-bit float holds
            _ => None,
        }
    }
}
