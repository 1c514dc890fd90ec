//! Command lines: cut out of the stream at CRLF, and at nothing else.

/// Collects one command line at a time, over any number of chunks.
///
/// A line with a fault is told of at once, and then skipped up to its CRLF: what stands behind a bare LF is never taken for a command,
/// whatever another reader of the same bytes would do, and a client gets one reply for each line it sent.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    line: Vec<u8>,
    ends_in_cr: bool,
    is_skipping: bool,
}

/// A line without its CRLF, or what is wrong with it.
pub(super) type Line = Result<Vec<u8>, LineFault>;

/// What makes a line none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineFault {
    /// A CR or an LF without the other.
    BareEnding,
    /// A NUL byte.
    NulByte,
    /// More than [`LINE_BYTES_MAX`].
    TooLong,
}

impl LineReader {
    /// Reads up to the end of a line. Gives how many bytes were used, and the line if it is one by now.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Option<Line>) {
        for (at, &byte) in bytes.iter().enumerate() {
            if let Some(line) = self.push(byte) {
                return (at + 1, Some(line));
            }
        }
        (bytes.len(), None)
    }

    /// How many bytes are held.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.line.len()
    }

    fn push(&mut self, byte: u8) -> Option<Line> {
        let followed_cr = std::mem::replace(&mut self.ends_in_cr, byte == b'\r');
        if followed_cr && byte == b'\n' {
            let line = std::mem::take(&mut self.line);
            let was_skipping = std::mem::take(&mut self.is_skipping);
            return (!was_skipping).then_some(Ok(line));
        }
        if self.is_skipping {
            return None;
        }
        let fault = match byte {
            _ if followed_cr => LineFault::BareEnding,
            b'\n' => LineFault::BareEnding,
            0 => LineFault::NulByte,
            // The CR and the LF to come count, too.
            b'\r' => return None,
            _ if self.line.len() + 2 >= LINE_BYTES_MAX => LineFault::TooLong,
            _ => {
                self.line.push(byte);
                return None;
            }
        };
        self.line = Vec::new();
        self.is_skipping = true;
        Some(Err(fault))
    }
}

/// The longest line of any command, CRLF included: `MAIL` with 512 bytes (RFC 5321 section 4.5.3.1.4), and what SIZE (RFC 1870
/// section 3), BODY (RFC 6152 section 2) and SMTPUTF8 (RFC 6531 section 3.1) add to it.
pub(super) const LINE_BYTES_MAX: usize = COMMAND_BYTES_MAX + 26 + 17 + 10;

/// The longest line of any other command, CRLF included.
pub(super) const COMMAND_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<Result<String, LineFault>> {
        let mut reader = LineReader::default();
        let mut rest = bytes;
        let mut lines = Vec::new();
        while !rest.is_empty() {
            let (used, line) = reader.read(rest);
            rest = &rest[used..];
            lines.extend(line.map(|line| line.map(|line| String::from_utf8(line).unwrap())));
            assert!(reader.buffered_bytes() <= LINE_BYTES_MAX);
        }
        lines
    }

    #[test]
    fn lines_end_in_crlf() {
        assert_eq!(lines(b"NOOP\r\n\r\nQUIT\r\nrest"), [Ok("NOOP".into()), Ok(String::new()), Ok("QUIT".into())]);
    }

    #[test]
    fn bare_endings_spoil_the_line_up_to_its_crlf() {
        let spoilt = Err(LineFault::BareEnding);
        for bytes in [&b"A\nB\r\nC\r\n"[..], b"A\rB\r\nC\r\n", b"A\r\rB\r\nC\r\n", b"A\n\r\nC\r\n", b"A\nB\nB\rB\r\nC\r\n", b"A\r\r\nC\r\n"]
        {
            assert_eq!(lines(bytes), [spoilt.clone(), Ok("C".into())], "{bytes:?}");
        }
        assert_eq!(lines(b"A\nB\nC\n"), [spoilt]);
    }

    #[test]
    fn nul_bytes_spoil_the_line() {
        assert_eq!(lines(b"A\0B\r\nC\r\n"), [Err(LineFault::NulByte), Ok("C".into())]);
    }

    #[test]
    fn lines_are_bounded() {
        let longest = "x".repeat(LINE_BYTES_MAX - 2);
        assert_eq!(lines(format!("{longest}\r\n").as_bytes()), [Ok(longest.clone())]);
        assert_eq!(lines(format!("{longest}x\r\nC\r\n").as_bytes()), [Err(LineFault::TooLong), Ok("C".into())]);
        assert_eq!(lines(&b"x".repeat(1_000_000)), [Err(LineFault::TooLong)]);
    }
}
