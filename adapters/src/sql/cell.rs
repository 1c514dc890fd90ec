//! Values that go into statements and come out of rows.

use super::SqlError;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// None, in a column of whole numbers.
    NoInt,
    /// None, in a column of floating-point numbers.
    NoReal,
    /// None, in a column of text.
    NoText,
    /// None, in a column of bytes.
    NoBytes,
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// One row of an answer.
pub type Row = Vec<Cell>;

impl Cell {
    /// The number, if it is a whole one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The bytes, of text, too: MariaDB calls text in order of bytes bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Text(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            _ => 8,
        }
    }
}

/// Refuses what no database keeps: values larger than they take, and texts with a NUL, which PostgreSQL cannot keep.
pub(super) fn check(cells: &[Cell]) -> Result<(), SqlError> {
    for cell in cells {
        match cell {
            Cell::Text(text) if text.contains('\0') => return Err(SqlError::Nul),
            cell if cell.size_bytes() > VALUE_BYTES_MAX => return Err(SqlError::TooLarge { size_bytes: cell.size_bytes() }),
            _ => {}
        }
    }
    Ok(())
}

/// Bytes of one value: MariaDB takes packets of 16 MiB unless told otherwise.
pub const VALUE_BYTES_MAX: usize = 15 << 20;
