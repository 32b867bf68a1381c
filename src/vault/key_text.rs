//! The written forms of a 256-bit key: 64 hexadecimal digits, or base64 of 32 bytes.
//! In: text as found in a file, a variable or a program's output. Out: the key, wiped when dropped.

use zeroize::Zeroizing;

/// A 256-bit key that wipes itself.
pub(super) type SecretKey = Zeroizing<[u8; 32]>;

/// Reads either form, with white space around it allowed; `None` if it is neither.
pub(super) fn parse(text: &[u8]) -> Option<SecretKey> {
    let text = text.trim_ascii();
    match text.len() {
        64 => hexadecimal(text),
        43 => base64(text),
        44 if text[43] == b'=' => base64(&text[..43]),
        _ => None,
    }
}

/// Writes a key as 64 hexadecimal digits and a line feed.
pub(super) fn write(key: &SecretKey) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Zeroizing::new(Vec::with_capacity(65));
    for byte in key.iter() {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text.push(b'\n');
    text
}

fn hexadecimal(digits: &[u8]) -> Option<SecretKey> {
    let mut key = SecretKey::default();
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(key)
}

/// 43 characters of either alphabet of RFC 4648 (sections 4 and 5) hold 258 bits, of which the last
/// two must be zero.
fn base64(characters: &[u8]) -> Option<SecretKey> {
    let mut key = SecretKey::default();
    let mut filled = 0;
    let mut bits = 0_u32;
    let mut held = 0;
    for &character in characters {
        bits = bits << 6 | sextet(character)?;
        held += 6;
        if held >= 8 {
            held -= 8;
            *key.get_mut(filled)? = (bits >> held) as u8;
            bits &= (1 << held) - 1;
            filled += 1;
        }
    }
    (filled == key.len() && bits == 0).then_some(key)
}

fn sextet(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_and_both_base64_alphabets_give_the_same_key() {
        // 32 bytes 0xfb 0xff repeated exercise the characters in which the alphabets differ.
        let expected: Vec<u8> = [0xfb, 0xff].repeat(16);
        let plain = "+//7//v/+//7//v/+//7//v/+//7//v/+//7//v/+/8=";
        for text in [
            "fbff".repeat(16),
            "FBFF".repeat(16),
            format!("  {plain}\r\n"),
            plain.trim_end_matches('=').to_owned(),
            plain.replace('+', "-").replace('/', "_"),
        ] {
            let key = parse(text.as_bytes()).map(|key| key.to_vec());
            assert_eq!(key, Some(expected.clone()), "{text}");
        }
    }

    #[test]
    fn a_written_key_reads_back() {
        let key = SecretKey::new(std::array::from_fn(|i| (i * 37) as u8));
        assert_eq!(parse(&write(&key)), Some(key));
    }

    #[test]
    fn other_lengths_and_characters_are_refused() {
        for text in [
            "".to_owned(),
            "ab".repeat(31),
            "ab".repeat(33),
            "xy".repeat(32),
            "A".repeat(45),
            format!("{}!", "A".repeat(42)),
            format!("{}B", "A".repeat(42)), // bits left over
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
