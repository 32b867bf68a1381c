//! What is packed in bytes: gzip members and zstd frames at any offset, whole or torn.

use std::io::Read;

use flate2::read::GzDecoder;
use memchr::memmem;

const GZIP: &[u8] = b"\x1f\x8b\x08";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// A frame may say that it is larger; nothing that a test writes is.
const LARGEST: u64 = 1 << 30;

/// The content of every frame, of a torn one as far as it can be read.
pub fn contents(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let gzip = memmem::find_iter(bytes, GZIP).map(|at| read(GzDecoder::new(&bytes[at..])));
    let zstd = memmem::find_iter(bytes, ZSTD).filter_map(|at| {
        let decoder = zstd::stream::read::Decoder::with_buffer(&bytes[at..]);
        Some(read(decoder.ok()?.single_frame()))
    });
    gzip.chain(zstd).filter(|content| !content.is_empty())
}

fn read(decoder: impl Read) -> Vec<u8> {
    let mut content = Vec::new();
    let mut decoder = decoder.take(LARGEST);
    let mut piece = [0; 4096];
    // An error is the end of what can be read.
    while let Ok(length @ 1..) = decoder.read(&mut piece) {
        content.extend_from_slice(&piece[..length]);
    }
    content
}
