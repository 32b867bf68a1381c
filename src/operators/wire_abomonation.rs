//! The wire codec by abomonation: rows as abomonation lays them out, one behind the other, read back by copying.
//!
//! abomonation is unsound where rows own memory or have padding, and unmaintained (RUSTSEC-2021-0120). Here its rows are
//! [`bytemuck::Pod`], which has neither, and it is given them one by one: what it writes is a row's own bytes, and what it
//! reads back it takes no length and no pointer from. It is the only unsafe code; `.ci/run` has valgrind watch its test.
#![allow(unsafe_code)]

use std::io::Write;

use abomonation::Abomonation;
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;

use super::Plain;

/// One row, known to abomonation as bytes without anything to exhume.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Row<T>(T);

// The defaults write and read the value's own bytes and nothing beyond them.
impl<T: bytemuck::Pod> Abomonation for Row<T> {}

impl<T: bytemuck::Pod> ContainerBytes for Plain<T> {
    fn from_bytes(bytes: Bytes) -> Self {
        const { assert!(align_of::<T>() <= align_of::<u64>() && size_of::<T>() > 0) };
        // `decode` casts its buffer to a row and wants to own it: so it gets a copy, in words.
        let mut words = vec![0u64; bytes.len().div_ceil(size_of::<u64>())];
        let mut rest = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()];
        let mut rows = Vec::with_capacity(bytes.len() / size_of::<T>());
        rest.copy_from_slice(&bytes);
        // SAFETY: a row is plain data of which every bit pattern is valid, so that any bytes make one; `decode` checks that there are
        // enough of them. The buffer is exclusive, initialised and aligned to 8 bytes, and so is each row in it, since a
        // row's size is a multiple of its alignment, which is at most 8.
        while let Some((Row(row), behind)) = unsafe { abomonation::decode::<Row<T>>(rest) } {
            rows.push(*row);
            rest = behind;
        }
        Plain(rows)
    }

    fn length_in_bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        for row in &self.0 {
            // SAFETY: `encode` reads the row's own bytes, which are initialised: a row has no padding.
            unsafe { abomonation::encode(&Row(*row), writer) }
                .expect("timely writes into memory of the length asked for");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use timely::bytes::arc::BytesMut;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_from_the_wire_make_rows_and_nothing_else(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let Plain(rows) = Plain::<[u64; 3]>::from_bytes(BytesMut::from(bytes.clone()).freeze());
            let whole = &bytes[..bytes.len() / 24 * 24];
            prop_assert_eq!(bytemuck::cast_slice::<_, u8>(&rows), whole);
        }
    }
}
