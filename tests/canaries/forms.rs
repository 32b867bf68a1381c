//! The forms in which a text can hide in bytes.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const FOR_URLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A text in every form, each with its name.
pub fn of(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = text.as_bytes();
    let each = |write: fn(u8) -> String| bytes.iter().map(|b| write(*b)).collect::<String>().into_bytes();
    let wide = |before: usize, behind: usize| {
        let zeros = |n| std::iter::repeat_n(0, n);
        let unit = |b: &u8| zeros(before).chain([*b]).chain(zeros(behind)).collect::<Vec<u8>>();
        bytes.iter().flat_map(unit).collect::<Vec<u8>>()
    };
    let mut forms = vec![
        ("plain", bytes.to_vec()),
        ("lower case", bytes.to_ascii_lowercase()),
        ("upper case", bytes.to_ascii_uppercase()),
        ("reversed", bytes.iter().rev().copied().collect()),
        ("hex", each(|b| format!("{b:02x}"))),
        ("hex, upper case", each(|b| format!("{b:02X}"))),
        ("a list of hex bytes", each(|b| format!("{b:x}, "))),
        ("percent", each(|b| format!("%{b:02x}"))),
        ("percent, upper case", each(|b| format!("%{b:02X}"))),
        ("a list of bytes", each(|b| format!("{b}, "))),
        ("a dense list of bytes", each(|b| format!("{b},"))),
        ("UTF-16, little endian", wide(0, 1)),
        ("UTF-16, big endian", wide(1, 0)),
        ("UTF-32, little endian", wide(0, 3)),
        ("UTF-32, big endian", wide(3, 0)),
    ];
    for (name, alphabet) in [("base64", STANDARD), ("base64 for URLs", FOR_URLS)] {
        for before in 0..3usize {
            // The digits that the text alone decides, whatever stands before and behind it.
            let digits = base64(&[&vec![0; before], bytes].concat(), alphabet);
            let (first, end) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
            forms.push((name, digits[first..end].to_vec()));
        }
    }
    forms
}

fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> Vec<u8> {
    let mut text = Vec::new();
    for group in bytes.chunks(3) {
        let n = group.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        let digits = [18, 12, 6, 0].map(|shift| alphabet[(n >> shift & 63) as usize]);
        text.extend_from_slice(&digits[..=group.len()]);
    }
    text
}

pub fn standard_base64(bytes: &[u8]) -> Vec<u8> {
    base64(bytes, STANDARD)
}

/// The bytes with the escapes of JSON texts resolved, of whichever characters are escaped; none if there are no escapes.
pub fn unescaped(bytes: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b'\\', bytes)?;
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        plain.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let digits = rest.get(1..5).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match (rest.first(), code.and_then(char::from_u32)) {
            (Some(b'u'), Some(character)) => {
                plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[5..];
            }
            // Escaped twice: "\\u0051" becomes "\u0051", which the caller looks at again.
            (Some(escaped @ (b'\\' | b'"' | b'/')), _) => {
                plain.push(*escaped);
                rest = &rest[1..];
            }
            _ => plain.push(b'\\'),
        }
    }
    plain.extend_from_slice(rest);
    (plain != bytes).then_some(plain)
}
