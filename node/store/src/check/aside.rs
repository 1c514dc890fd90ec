//! What was set aside on a node, because it was damaged or in the way of a restore. It may hold values that were obliterated since.

use std::fs;
use std::io;
use std::path::Path;

use super::{Examined, JournalFound};
use crate::blobs::is_set_aside;
use crate::journal;
use crate::state::SledState;
use crate::storage::{Storage, StorageError, burn};

/// A file or a directory that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// What it was a part of.
    pub kind: AsideKind,
    /// Its name in the node's directory.
    pub name: String,
    /// Bytes in it.
    pub size_bytes: u64,
}

/// What something that was set aside was a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsideKind {
    /// A segment of a journal.
    Journal,
    /// A state.
    State,
    /// A blob.
    Blob,
}

/// Why what was set aside is not listed, or not removed. What was removed before is gone.
#[derive(Debug, thiserror::Error)]
pub enum AsideError {
    /// The node would begin anew as if it had never promised anything.
    #[error(
        "there is no journal yet beside what was set aside, which says that this node promised something once: start it, so that the others let it in \
         under another number, or restore it"
    )]
    Needed,
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The disk, where states are.
    #[error("a state that was set aside cannot be read or removed: {0}")]
    State(#[from] io::Error),
}

/// What was set aside in a node's directory, and, of its state, beside `state`: journals, states, blobs, in the order of their names.
pub fn set_aside(storage: &dyn Storage, state: &Path) -> Result<Vec<Aside>, AsideError> {
    let mut all = Vec::new();
    let file =
        |kind, name: String| -> Result<Aside, StorageError> { Ok(Aside { kind, size_bytes: storage.open(&name)?.size_bytes()?, name }) };
    for name in journal::quarantined(storage)? {
        all.push(file(AsideKind::Journal, name)?);
    }
    for place in SledState::quarantines(state) {
        let name = place.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        all.push(Aside { kind: AsideKind::State, size_bytes: bytes_in(&place)?, name });
    }
    for name in storage.list()?.into_iter().filter(|name| is_set_aside(name)) {
        all.push(file(AsideKind::Blob, name)?);
    }
    Ok(all)
}

/// Overwrites what [`set_aside`] listed, and removes it; `tell` hears of each that is gone. What was `examined` is the node's directory.
///
/// As long as a node has no journal, a journal that was set aside is what keeps it from voting as if it had never voted: then nothing is removed.
pub fn purge_set_aside(examined: &Examined, storage: &dyn Storage, state: &Path, tell: &mut dyn FnMut(&Aside)) -> Result<(), AsideError> {
    let all = set_aside(storage, state)?;
    let is_begun = match &examined.journal {
        JournalFound::Nothing => false,
        JournalFound::Sound(sound) => sound.seat.is_some() || sound.last_index > 0,
        // The next start sets it aside, too.
        JournalFound::Unsound(_) => true,
    };
    if !is_begun && all.iter().any(|aside| aside.kind == AsideKind::Journal) {
        return Err(AsideError::Needed);
    }
    for aside in all {
        match aside.kind {
            AsideKind::Journal | AsideKind::Blob => burn::burn(storage, &aside.name)?,
            AsideKind::State => SledState::wipe_set_aside(&state.with_file_name(&aside.name))?,
        }
        tell(&aside);
    }
    Ok(())
}

fn bytes_in(place: &Path) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(place)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    fs::read_dir(place)?.map(|entry| bytes_in(&entry?.path())).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::examine;
    use super::*;
    use crate::journal::{Entry, EntryKind, Options, Record};
    use crate::storage::DiskStorage;

    const SECRET: &[u8] = b"Rumpelstilzchen";

    #[test]
    fn everything_that_was_set_aside_is_listed_and_goes_once_the_node_has_a_journal() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let blob = format!("blob-{}.damaged-2", "ab".repeat(32));
        fs::create_dir_all(directory.path().join("state.quarantine-1/within")).unwrap();
        for name in ["quarantine-0001-journal-0000000001", "quarantine-0001-journal-0000000002", &blob, "state.quarantine-1/within/db"] {
            fs::write(directory.path().join(name), SECRET).unwrap();
        }
        fs::write(directory.path().join("blob-names"), b"").unwrap();
        let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(directory.path()).unwrap());
        let purge = || {
            let mut gone = Vec::new();
            let done = purge_set_aside(&examine(storage.clone()).unwrap(), &*storage, &state, &mut |aside| gone.push(aside.name.clone()));
            (done, gone)
        };
        let listed = set_aside(&*storage, &state).unwrap();
        let expected = ["quarantine-0001-journal-0000000001", "quarantine-0001-journal-0000000002", "state.quarantine-1", &blob];
        assert_eq!(listed.iter().map(|aside| aside.name.as_str()).collect::<Vec<_>>(), expected);
        assert!(listed.iter().all(|aside| aside.size_bytes == SECRET.len() as u64), "{listed:?}");
        let (refused, gone) = purge();
        assert!(matches!(refused, Err(AsideError::Needed)) && gone.is_empty());
        let mut opened = journal::open(storage.clone(), Options::new(caps_model::Name::fixed("main"))).unwrap();
        let entry = Entry { index: 1, term: 1, kind: EntryKind::Normal, payload: b""[..].into() };
        opened.writer.append(opened.reader.stage(vec![Record::Entry(entry)])).unwrap();
        opened.writer.close().unwrap();
        let (done, gone) = purge();
        done.unwrap();
        assert_eq!(gone, expected);
        assert_eq!(set_aside(&*storage, &state).unwrap(), []);
        assert!(directory.path().join("blob-names").exists());
    }
}
