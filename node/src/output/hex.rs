//! Bytes in hexadecimal: how people see hashes, and how bytes travel through what is made for text.

/// Bytes as lower-case digits, two a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digits as bytes, in upper or lower case; `None` when something else is among them, or a byte is not whole.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks(2).map(|pair| Some((digit(pair[0])? << 4) | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_bytes_are_read() {
        assert_eq!(from_hex(&hex(&[0, 0x1f, 0xff])), Some(vec![0, 0x1f, 0xff]));
        assert_eq!(from_hex("aB"), Some(vec![0xab]));
        for text in ["a", "abc", "0x", "å", "+1"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }
}
