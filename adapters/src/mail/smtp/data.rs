//! The mail itself, between 354 and the line with the single dot (RFC 5321 section 4.5.2).

use thiserror::Error;

/// Collects a mail over any number of chunks, and removes the dots that its sender doubled.
///
/// Its end is CRLF, dot, CRLF and nothing like it. A mail that holds a CR or LF alone, or a NUL byte, is read to that end and
/// refused whole: what another server would take for the end, and the commands behind it, never become either here
/// (SMTP smuggling, CVE-2023-51764 and its kin). From the first fault on nothing is kept.
#[derive(Debug)]
pub(super) struct DataReader {
    at: At,
    content: Vec<u8>,
    read_bytes: u64,
    limit: usize,
    fault: Option<DataFault>,
}

/// A mail, or why it was not taken.
pub(super) type Content = Result<Vec<u8>, DataFault>;

/// Why a mail was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum DataFault {
    #[error("a line of the mail ends in a CR or an LF alone")]
    BareEnding,
    #[error("the mail holds a NUL byte")]
    NulByte,
    #[error("the mail is too large")]
    TooLarge,
}

/// Where in a line the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Behind a CRLF, the command's own included.
    Start,
    /// Behind the dot at the beginning of a line.
    Dot,
    /// Behind the CR after that dot.
    DotCr,
    /// Inside a line.
    Text,
    /// Behind a CR.
    Cr,
    /// Behind the last line.
    End,
}

impl DataReader {
    /// A reader for a mail of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { at: At::Start, content: Vec::new(), read_bytes: 0, limit, fault: None }
    }

    /// Reads on, up to the end of the mail, and gives how many bytes were used.
    pub(super) fn read(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() && self.at != At::End {
            used += self.read_piece(&bytes[used..]);
        }
        self.read_bytes += used as u64;
        used
    }

    pub(super) fn has_ended(&self) -> bool {
        self.at == At::End
    }

    /// The mail, each line ended by CRLF, or why it is not taken.
    pub(super) fn into_content(self) -> Content {
        self.fault.map_or(Ok(self.content), Err)
    }

    /// How many bytes were read so far, kept or not.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// How many bytes are held.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.content.len()
    }

    /// Reads one byte, or as many as a line goes on for.
    fn read_piece(&mut self, bytes: &[u8]) -> usize {
        if self.at == At::Text {
            let length = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)).unwrap_or(bytes.len());
            if length > 0 {
                self.keep(&bytes[..length]);
                return length;
            }
        }
        self.read_byte(bytes[0]);
        1
    }

    fn read_byte(&mut self, byte: u8) {
        self.at = match (self.at, byte) {
            (At::Start, b'.') => At::Dot,
            (At::Dot, b'\r') => At::DotCr,
            (At::DotCr, b'\n') => At::End,
            (At::Cr, b'\n') => {
                self.keep(b"\r\n");
                At::Start
            }
            (At::DotCr | At::Cr, _) => {
                self.fail(DataFault::BareEnding);
                self.read_inside(byte)
            }
            (_, byte) => self.read_inside(byte),
        };
    }

    /// Reads a byte that continues a line, or begins its end.
    fn read_inside(&mut self, byte: u8) -> At {
        match byte {
            b'\r' => return At::Cr,
            b'\n' => self.fail(DataFault::BareEnding),
            0 => self.fail(DataFault::NulByte),
            byte => self.keep(&[byte]),
        }
        // Behind a bare LF a line does not begin.
        At::Text
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        if self.content.len() + bytes.len() > self.limit {
            return self.fail(DataFault::TooLarge);
        }
        self.content.extend_from_slice(bytes);
    }

    fn fail(&mut self, fault: DataFault) {
        self.fault.get_or_insert(fault);
        self.content = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of `bytes`, in one piece and byte by byte, and what is left over.
    fn read(bytes: &[u8], limit: usize) -> Option<(Content, &[u8])> {
        let mut whole = DataReader::new(limit);
        let used = whole.read(bytes);
        let mut bytewise = DataReader::new(limit);
        for byte in bytes {
            assert!(bytewise.read(&[*byte]) == 1 || bytewise.has_ended());
            assert!(bytewise.buffered_bytes() <= limit);
        }
        assert_eq!(whole.has_ended(), bytewise.has_ended());
        let ended = whole.has_ended();
        let content = whole.into_content();
        assert_eq!(content, bytewise.into_content());
        ended.then_some((content, &bytes[used..]))
    }

    #[test]
    fn mail_ends_at_the_line_with_a_single_dot() {
        let table: [(&[u8], &[u8], &[u8]); 6] = [
            (b".\r\n", b"", b""),
            (b"\r\n.\r\nQUIT\r\n", b"\r\n", b"QUIT\r\n"),
            (b"a\r\n.\r\n", b"a\r\n", b""),
            (b"..\r\n.a\r\n...\r\n.\r\n.\r\n", b".\r\na\r\n..\r\n", b".\r\n"),
            (b"a.\r\nb\r\n.\r\n", b"a.\r\nb\r\n", b""),
            (b"..a\r\n.. \r\n. \r\n.\r\n", b".a\r\n. \r\n \r\n", b""),
        ];
        for (bytes, content, rest) in table {
            assert_eq!(read(bytes, 99), Some((Ok(content.to_vec()), rest)), "{bytes:?}");
        }
    }

    #[test]
    fn ends_that_others_see_spoil_the_mail_and_end_nothing() {
        let table: [&[u8]; 12] = [
            b"\n.\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\r\n.\r.\r\n",
            b"\n.\r",
            b"\r\n.\r\r\n",
            b"\r\r\n.\r\r\n",
            b"\n\n.\r\n",
            b"\r\n.\n.\r\n",
        ];
        for end in table {
            let bytes = [b"mail", end, b"MAIL FROM:<eve@example.org>\r\n.\r\nQUIT\r\n"].concat();
            assert_eq!(read(&bytes, 999), Some((Err(DataFault::BareEnding), &b"QUIT\r\n"[..])), "{end:?}");
        }
    }

    #[test]
    fn nul_bytes_spoil_the_mail() {
        assert_eq!(read(b"a\0\r\n.\r\n", 99), Some((Err(DataFault::NulByte), &b""[..])));
        assert_eq!(read(b".\0\r\n.\r\n", 99), Some((Err(DataFault::NulByte), &b""[..])));
    }

    #[test]
    fn excess_is_dropped_and_not_kept() {
        assert_eq!(read(b"1234\r\n.\r\n", 6), Some((Ok(b"1234\r\n".to_vec()), &b""[..])));
        assert_eq!(read(b"12345\r\n.\r\n", 6), Some((Err(DataFault::TooLarge), &b""[..])));
        assert_eq!(read(&b"x".repeat(100_000), 6), None);
    }
}
