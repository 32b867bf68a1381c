//! Values written as JSON, byte by byte: the rows of other formats on their way to the parser.

/// `{"name":` or `,"name":`.
pub(super) fn put_key(first: bool, name: &str) -> Vec<u8> {
    let mut key = vec![if first { b'{' } else { b',' }];
    put_text(&mut key, name.as_bytes());
    key.push(b':');
    key
}

/// A text in quotation marks. What is not UTF-8 stays so: the parser tells of it.
pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            escaped @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', escaped]),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_comes_back(name in any::<String>(), text in any::<String>()) {
            let mut json = put_key(true, &name);
            put_text(&mut json, text.as_bytes());
            json.push(b'}');
            let read: serde_json::Value = serde_json::from_slice(&json).expect("it is JSON");
            prop_assert_eq!(read, serde_json::json!({ name: text }));
        }
    }
}
