//! The state of a key's memory and of a device's. In: the memories of [`imputation`](super::super::imputation); out: bytes, and back.

use super::super::imputation::{DeviceMemory, KeyMemory, Known};
use super::super::parameters::Parameters;
use super::super::shingle::Shingle;
use super::super::standard::Moments;
use super::{Kind, Reader, StateError, write_floats, write_framed, write_number};

impl KeyMemory {
    /// Appends the memory's state to `out`.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        write_framed(Kind::Key, out, |out| {
            write_number(self.known.len() as u64, out);
            for known in &self.known {
                out.extend(known.sum.to_le_bytes());
                write_number(known.count, out);
            }
            for moments in self.moments.iter().flatten() {
                for number in [moments.weight, moments.mean, moments.squares] {
                    out.extend(number.to_le_bytes());
                }
            }
        });
    }

    /// The memory that [`write_state`](Self::write_state) wrote, which must be of these parameters.
    pub fn read_state(parameters: &Parameters, bytes: &[u8]) -> Result<KeyMemory, StateError> {
        let mut reader = Reader::framed(Kind::Key, bytes)?;
        reader.same(parameters.measures as u64)?;
        let mut memory = KeyMemory::new(parameters);
        for known in &mut memory.known {
            *known = Known {
                sum: reader.double()?,
                count: reader.count()?,
            };
        }
        for moments in memory.moments.iter_mut().flatten() {
            *moments = Moments {
                weight: reader.double()?,
                mean: reader.double()?,
                squares: reader.double()?,
            };
            if moments.weight < 0.0 || moments.squares < 0.0 {
                return Err(StateError::Damaged);
            }
        }
        reader.end()?;
        memory.changed = false;
        Ok(memory)
    }
}

impl DeviceMemory {
    /// Appends the memory's state to `out`: the known values, and the rows that the next point begins with.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        write_framed(Kind::Device, out, |out| {
            write_number(self.last.len() as u64, out);
            write_number(self.shingle.length() as u64, out);
            write_number(self.shingle.filled() as u64, out);
            write_floats(&self.last, out);
            write_floats(self.shingle.before_next(), out);
        });
    }

    /// The memory that [`write_state`](Self::write_state) wrote, which must be of so many measures and such shingles.
    pub fn read_state(measures: usize, shingle: usize, bytes: &[u8]) -> Result<DeviceMemory, StateError> {
        let mut reader = Reader::framed(Kind::Device, bytes)?;
        let mut memory = DeviceMemory::new(measures, shingle);
        reader.same(measures as u64)?;
        reader.same(memory.shingle.length() as u64)?;
        let filled = reader.small(memory.shingle.length())?;
        for last in &mut memory.last {
            *last = reader.float()?;
        }
        let mut shingle = Shingle::new(measures, shingle);
        let kept = filled.min(shingle.length() - 1);
        for _ in kept..filled {
            shingle.push([]); // the row that leaves when the next comes
        }
        let mut row = vec![0.0; measures];
        for _ in 0..kept {
            for value in &mut row {
                *value = reader.finite()?;
            }
            shingle.push(row.iter().copied());
        }
        reader.end()?;
        memory.shingle = shingle;
        memory.changed = false;
        Ok(memory)
    }
}
