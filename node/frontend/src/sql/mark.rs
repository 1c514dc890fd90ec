//! A file that says how far an import is.

use std::io;
use std::path::{Path, PathBuf};

use caps_adapters::sql::Place;
use serde_json::{Value as Json, json};

/// The file. It is written whole or not at all, and what it says may be older than what was imported: rows are known when they are read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(PathBuf);

/// The file is none that was written here.
#[derive(Debug, thiserror::Error)]
#[error("{} does not say how far an import is: remove it to begin at the beginning", .0.display())]
struct Foreign(PathBuf);

impl Mark {
    /// In this file, which need not be there.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self(file.into())
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.0
    }

    /// Where an earlier import ended; `None`: there was none.
    pub fn read(&self) -> io::Result<Option<Place>> {
        let text = match std::fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let cursor = serde_json::from_str::<Json>(&text).ok().and_then(|mark| mark["cursor"].as_str().map(str::to_owned));
        let cursor = cursor.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, Foreign(self.0.clone())))?;
        Ok(Some(Place { cursor: Some(cursor), key: None }))
    }

    /// Writes down that everything up to a place is imported; without a cursor that is nothing to go on from.
    pub fn keep(&self, place: &Place) -> io::Result<()> {
        let Some(cursor) = &place.cursor else { return Ok(()) };
        if let Some(directory) = self.0.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let new = self.0.with_extension("new");
        std::fs::write(&new, json!({"cursor": cursor}).to_string())?;
        std::fs::rename(&new, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_what_was_kept_last() {
        let directory = tempfile::tempdir().unwrap();
        let mark = Mark::new(directory.path().join("imports/crm.mark"));
        assert_eq!(mark.read().unwrap(), None);
        let place = |cursor: &str| Place { cursor: Some(cursor.to_owned()), key: None };
        for cursor in ["1", "2026-12-01 \"noon\""] {
            mark.keep(&Place { key: Some("7".to_owned()), ..place(cursor) }).unwrap();
            assert_eq!(mark.read().unwrap(), Some(place(cursor)));
        }
        mark.keep(&Place { cursor: None, key: Some("8".to_owned()) }).unwrap();
        assert!(mark.read().unwrap().is_some());
        std::fs::write(mark.file(), "{}").unwrap();
        assert!(mark.read().unwrap_err().to_string().contains("remove it to begin at the beginning"));
    }
}
