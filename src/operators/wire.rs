//! `Plain`: a container of plain rows, which travels between processes as the very bytes of the rows.
//!
//! The default codec is bytemuck, safe throughout. With the feature `abomonation` it is that crate's, which the
//! README explains. Processes of one cluster are checked to be the same build before either is used.

use timely::Accountable;
use timely::container::{DrainContainer, PushInto, SizableContainer};

/// Rows without padding, pointers or invalid bit patterns.
#[derive(Clone, Debug)]
pub(super) struct Plain<T>(pub(super) Vec<T>);

impl<T> Default for Plain<T> {
    fn default() -> Self {
        Plain(Vec::new())
    }
}

impl<T> Accountable for Plain<T> {
    fn record_count(&self) -> i64 {
        self.0.len() as i64
    }
}

impl<T> DrainContainer for Plain<T> {
    type Item<'a>
        = T
    where
        T: 'a;
    type DrainIter<'a>
        = std::vec::Drain<'a, T>
    where
        T: 'a;
    fn drain(&mut self) -> Self::DrainIter<'_> {
        self.0.drain(..)
    }
}

impl<T> SizableContainer for Plain<T> {
    fn at_capacity(&self) -> bool {
        self.0.at_capacity()
    }
    fn ensure_capacity(&mut self, stash: &mut Option<Self>) {
        let mut spare = stash.take().map(|Plain(rows)| rows);
        self.0.ensure_capacity(&mut spare);
    }
}

impl<T> PushInto<T> for Plain<T> {
    fn push_into(&mut self, row: T) {
        self.0.push(row);
    }
}

#[cfg(not(feature = "abomonation"))]
mod codec {
    use std::io::Write;

    use timely::bytes::arc::Bytes;
    use timely::dataflow::channels::ContainerBytes;

    use super::Plain;

    impl<T: bytemuck::Pod> ContainerBytes for Plain<T> {
        fn from_bytes(bytes: Bytes) -> Self {
            Plain(bytemuck::allocation::pod_collect_to_vec(&bytes[..]))
        }
        fn length_in_bytes(&self) -> usize {
            std::mem::size_of_val(self.0.as_slice())
        }
        fn into_bytes<W: Write>(&self, writer: &mut W) {
            writer
                .write_all(bytemuck::cast_slice(&self.0))
                .expect("timely writes into memory of the length asked for");
        }
    }
}

#[cfg(feature = "abomonation")]
#[path = "wire_abomonation.rs"]
mod codec;
