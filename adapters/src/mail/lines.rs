//! Line endings: the first thing that is checked, since everything else is read line by line.

use super::{LineEndings, Refusal};

/// Refuses NUL bytes and line endings that `accepted` does not allow.
///
/// A server that takes a bare LF or CR for the end of a line, behind one that does not, lets a sender hide a second message in
/// the first (SMTP smuggling: CVE-2023-51764, -51765, -51766). RFC 5322 section 2.3: CR and LF occur only together.
pub(super) fn check(bytes: &[u8], accepted: LineEndings) -> Result<(), Refusal> {
    let mut line = 1;
    let mut file_ending = None;
    let mut previous = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            0 => return Err(Refusal::NulByte { line }),
            b'\r' if bytes.get(at + 1) != Some(&b'\n') => {
                return Err(Refusal::BareCarriageReturn { line });
            }
            b'\n' => {
                let ending = Ending::after(previous);
                match accepted {
                    LineEndings::Strict if ending == Ending::Lf => {
                        return Err(Refusal::BareLineFeed { line });
                    }
                    LineEndings::FromFile if *file_ending.get_or_insert(ending) != ending => {
                        return Err(Refusal::MixedLineEndings { line });
                    }
                    LineEndings::Strict | LineEndings::FromFile => line += 1,
                }
            }
            _ => {}
        }
        previous = byte;
    }
    Ok(())
}

/// Splits off the first line: without its ending, and the rest after it.
pub(super) fn split_first(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match bytes.iter().position(|&byte| byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    CrLf,
    Lf,
}

impl Ending {
    fn after(previous: u8) -> Self {
        if previous == b'\r' { Self::CrLf } else { Self::Lf }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_reading_takes_crlf_only() {
        let read = |bytes: &[u8]| check(bytes, LineEndings::Strict);
        assert_eq!(read(b"a\r\nb\r\n"), Ok(()));
        assert_eq!(read(b"a\r\nb\n"), Err(Refusal::BareLineFeed { line: 2 }));
        assert_eq!(read(b"a\rb\r\n"), Err(Refusal::BareCarriageReturn { line: 1 }));
        assert_eq!(read(b"a\r\r\n"), Err(Refusal::BareCarriageReturn { line: 1 }));
        assert_eq!(read(b"a\r"), Err(Refusal::BareCarriageReturn { line: 1 }));
        assert_eq!(read(b"a\r\n\0"), Err(Refusal::NulByte { line: 2 }));
    }

    #[test]
    fn file_reading_takes_one_kind_of_ending() {
        let read = |bytes: &[u8]| check(bytes, LineEndings::FromFile);
        assert_eq!(read(b"a\nb\n"), Ok(()));
        assert_eq!(read(b"a\r\nb\r\n"), Ok(()));
        assert_eq!(read(b"a\nb\r\n"), Err(Refusal::MixedLineEndings { line: 2 }));
        assert_eq!(read(b"a\r\nb\n"), Err(Refusal::MixedLineEndings { line: 2 }));
        assert_eq!(read(b"a\nb\rc\n"), Err(Refusal::BareCarriageReturn { line: 2 }));
    }
}
