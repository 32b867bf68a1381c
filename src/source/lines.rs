//! Lines of a text, each kept up to a limit.

use std::io::{self, BufRead, Read};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line that was read.
pub(super) struct Measured {
    /// Its whole length, kept or not.
    pub(super) length: u64,
    pub(super) blank: bool,
}

/// The bytes behind a byte order mark, if there is one; a pipe may give it piece by piece.
pub(super) fn without_mark(mut bytes: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut start = Vec::with_capacity(BYTE_ORDER_MARK.len());
    bytes
        .by_ref()
        .take(BYTE_ORDER_MARK.len() as u64)
        .read_to_end(&mut start)?;
    if start == BYTE_ORDER_MARK {
        return Ok(Box::new(bytes));
    }
    Ok(Box::new(io::Cursor::new(start).chain(bytes)))
}

/// Reads up to the next line feed or the end of the file; keeps at most `limit` bytes of the line.
#[inline(always)] // and all that calls it for a record: what is found would go through memory, a tenth of the reader's time
pub(super) fn read_line(
    reader: &mut impl BufRead,
    mut kept: Option<&mut Vec<u8>>,
    limit: usize,
) -> io::Result<Option<Measured>> {
    let mut measured = Measured { length: 0, blank: true };
    let mut started = false;
    loop {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if buffer.is_empty() {
            return Ok(started.then_some(measured));
        }
        started = true;
        let end = memchr::memchr(b'\n', buffer);
        let part = &buffer[..end.unwrap_or(buffer.len())];
        if let Some(kept) = kept.as_mut() {
            let room = (limit as u64).saturating_sub(measured.length) as usize;
            kept.extend_from_slice(&part[..part.len().min(room)]);
        }
        measured.length += part.len() as u64;
        measured.blank &= part.trim_ascii().is_empty();
        let taken = part.len() + usize::from(end.is_some());
        reader.consume(taken);
        if end.is_some() {
            return Ok(Some(measured));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes one at a time, as a slow pipe does.
    struct Trickle(std::slice::Iter<'static, u8>);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match (self.0.next(), buffer) {
                (Some(byte), [first, ..]) => *first = *byte,
                _ => return Ok(0),
            }
            Ok(1)
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped_even_where_it_arrives_in_pieces() {
        for (input, want) in [
            (&b"\xef\xbb\xbf{}"[..], &b"{}"[..]),
            (b"{}", b"{}"),
            (b"\xef\xbb", b"\xef\xbb"),
            (b"\xef\xbb\xbf\xef\xbb\xbf1", b"\xef\xbb\xbf1"),
            (b"\xef\xbb\xbf", b""),
            (b"", b""),
        ] {
            let mut read = Vec::new();
            without_mark(Trickle(input.iter()))
                .and_then(|mut rest| rest.read_to_end(&mut read))
                .expect("bytes");
            assert_eq!(read, want);
        }
    }
}
