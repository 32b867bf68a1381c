//! A manufacturer as a level of an MQTT topic. In: any text, or none. Out: a level that no other text has.

use sha2::{Digest, Sha256};

/// The level of devices without a manufacturer.
const NOBODY: &str = "unknown";
/// A level longer than this is cut; a topic has at most 65,535 bytes.
const LONGEST: usize = 512;

/// The level for a manufacturer: its name, in which a percent sign and what a level cannot hold (`/`, `+`, `#`, control characters and
/// those that are none) are written as a percent sign and two hexadecimal digits for each byte. `unknown` stands for none, and one
/// of that name is `%75nknown`; an empty name is `%`. A very long one is cut and ends with `%~` and a digest. So different
/// manufacturers never share a level.
pub fn level(manufacturer: Option<&str>) -> String {
    let name = match manufacturer {
        None => return NOBODY.to_owned(),
        Some("") => return "%".to_owned(),
        Some(NOBODY) => return format!("%{:02X}{}", NOBODY.as_bytes()[0], &NOBODY[1..]),
        Some(name) => name,
    };
    let mut level = String::with_capacity(name.len());
    for c in name.chars() {
        if is_plain(c) {
            level.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                level += &format!("%{byte:02X}");
            }
        }
        if level.len() > LONGEST {
            let digest: String = Sha256::digest(name.as_bytes())[..16]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            return format!("{level}%~{digest}");
        }
    }
    level
}

/// Whether brokers take it: MQTT 5, sections 1.5.4 and 4.7.
fn is_plain(c: char) -> bool {
    let is_character = !matches!(u32::from(c), 0xfdd0..=0xfdef) && u32::from(c) & 0xfffe != 0xfffe;
    is_character && !c.is_control() && !matches!(c, '%' | '/' | '+' | '#')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_readable_and_none_is_a_level_of_its_own() {
        assert_eq!(level(Some("Aesculon")), "Aesculon");
        assert_eq!(level(Some("Müller & Söhne")), "Müller & Söhne");
        assert_eq!(level(Some("A/B+#%")), "A%2FB%2B%23%25");
        assert_eq!(level(Some("a\0b\u{7f}\u{fffe}")), "a%00b%7F%EF%BF%BE");
        assert_eq!(level(None), "unknown");
        assert_eq!(level(Some("unknown")), "%75nknown");
        assert_eq!(level(Some("")), "%");
    }

    fn name() -> impl Strategy<Value = Option<String>> {
        proptest::option::of(prop_oneof![
            "[a/+#%2F\u{0}~]{0,6}",
            "(unknown|%75nknown|%|)",
            "x{505,520}[ab]?",
            any::<String>()
        ])
    }

    proptest! {
        #[test]
        fn different_manufacturers_never_share_a_level(a in name(), b in name()) {
            prop_assert_eq!(a == b, level(a.as_deref()) == level(b.as_deref()));
        }

        #[test]
        fn every_level_is_one_that_brokers_take(name in name()) {
            let level = level(name.as_deref());
            prop_assert!(!level.is_empty() && level.len() < LONGEST + 60);
            prop_assert!(level.chars().all(|c| c == '%' || is_plain(c)), "{:?}", level);
        }
    }
}
