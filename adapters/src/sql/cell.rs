//! Values that go into statements and come out of rows.

use sqlx::any::{AnyArguments, AnyRow, AnyTypeInfoKind};
use sqlx::{Any, Arguments, Column, Row as _, ValueRef};

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

/// Binds values, in order. None is larger than databases take, and text holds no NUL, which PostgreSQL cannot keep.
pub(super) fn bound<'q>(cells: &[Cell]) -> Result<AnyArguments<'q>, SqlError> {
    let mut arguments = AnyArguments::default();
    for cell in cells {
        if cell.size_bytes() > VALUE_BYTES_MAX {
            return Err(SqlError::TooLarge { size_bytes: cell.size_bytes() });
        }
        let added = match cell {
            Cell::NoInt => arguments.add(None::<i64>),
            Cell::NoReal => arguments.add(None::<f64>),
            Cell::NoText => arguments.add(None::<String>),
            Cell::NoBytes => arguments.add(None::<Vec<u8>>),
            Cell::Int(number) => arguments.add(*number),
            Cell::Real(number) => arguments.add(*number),
            Cell::Text(text) if text.contains('\0') => return Err(SqlError::Nul),
            Cell::Text(text) => arguments.add(text.clone()),
            Cell::Bytes(bytes) => arguments.add(bytes.clone()),
        };
        added.map_err(|error| SqlError::Wrong { said: error.to_string() })?;
    }
    Ok(arguments)
}

/// A row as cells.
pub(super) fn read(row: &AnyRow) -> Result<Row, SqlError> {
    let columns = row.columns().iter().map(|column| {
        let place = column.ordinal();
        let raw = row.try_get_raw(place).map_err(SqlError::from)?;
        let kind = raw.type_info().kind();
        if raw.is_null() {
            return Ok(none_of(kind));
        }
        let decoded = match kind {
            AnyTypeInfoKind::Bool => row.try_get::<bool, _>(place).map(|truth| Cell::Int(truth.into())),
            AnyTypeInfoKind::SmallInt | AnyTypeInfoKind::Integer | AnyTypeInfoKind::BigInt => row.try_get::<i64, _>(place).map(Cell::Int),
            AnyTypeInfoKind::Real | AnyTypeInfoKind::Double => row.try_get::<f64, _>(place).map(Cell::Real),
            AnyTypeInfoKind::Text => row.try_get::<String, _>(place).map(Cell::Text),
            AnyTypeInfoKind::Blob | AnyTypeInfoKind::Null => row.try_get::<Vec<u8>, _>(place).map(Cell::Bytes),
        };
        decoded.map_err(SqlError::from)
    });
    columns.collect()
}

fn none_of(kind: AnyTypeInfoKind) -> Cell {
    match kind {
        AnyTypeInfoKind::Real | AnyTypeInfoKind::Double => Cell::NoReal,
        AnyTypeInfoKind::Text => Cell::NoText,
        AnyTypeInfoKind::Blob => Cell::NoBytes,
        _ => Cell::NoInt,
    }
}

/// Statements are prepared by the driver for any of the three.
pub(super) type Backend = Any;

/// Bytes of one value: MariaDB takes packets of 16 MiB unless told otherwise.
pub const VALUE_BYTES_MAX: usize = 15 << 20;
