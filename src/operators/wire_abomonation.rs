//! The wire codec by abomonation: rows as abomonation lays them out, read back by copying.
//!
//! abomonation is unsound where rows own memory or have padding, and unmaintained (RUSTSEC-2021-0120). Here its rows are
//! [`bytemuck::Pod`], which has neither, and its `decode` is given exclusive, aligned bytes. It is the only unsafe code.
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
        // `decode` writes through its buffer and casts it to rows: so it gets a copy, in words.
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        let buffer = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()];
        buffer.copy_from_slice(&bytes);
        // SAFETY: the bytes were written by `into_bytes` of the same version and codec, which the cluster's handshake
        // checks before a connection carries data; rows are plain data, for which every bit pattern is valid; the buffer is exclusive
        // and aligned to 8 bytes, the most any row needs.
        let decoded = unsafe { abomonation::decode::<Vec<Row<T>>>(buffer) };
        Plain(decoded.map_or_else(Vec::new, |(rows, _)| rows.iter().map(|Row(row)| *row).collect()))
    }

    fn length_in_bytes(&self) -> usize {
        (abomonation::measure(&rows(&self.0)) + 7) & !7
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let rows = rows(&self.0);
        let padding = self.length_in_bytes() - abomonation::measure(&rows);
        // SAFETY: `encode` reads the vector's own bytes and its rows' bytes; both are initialised, rows having no padding.
        unsafe { abomonation::encode(&rows, &mut *writer) }.expect("timely writes into memory of the length asked for");
        writer.write_all(&[0; 8][..padding]).expect("as above");
    }
}

fn rows<T: bytemuck::Pod>(plain: &[T]) -> Vec<Row<T>> {
    plain.iter().map(|row| Row(*row)).collect()
}
