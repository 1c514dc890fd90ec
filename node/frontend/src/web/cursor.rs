//! Places in an order, as addresses hold them.

use caps_model::Cursor;
use caps_model::codec::{decode, encode};

/// A place, in hexadecimal digits.
pub(crate) fn written(cursor: &Cursor) -> String {
    let bytes = encode(cursor).unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A place that was written so.
pub(crate) fn read(text: &str) -> Option<Cursor> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(|pair| Some((digit(pair[0])? << 4) | digit(*pair.get(1)?)?)).collect();
    decode(&bytes?).ok()
}
