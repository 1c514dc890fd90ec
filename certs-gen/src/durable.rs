//! Files that are there whole or not at all, and still there after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Everybody whom the system lets, mode 0644.
    Public,
    /// The owner alone, mode 0600, from the first byte on.
    Secret,
}

impl Secrecy {
    fn mode(self) -> u32 {
        match self {
            Self::Public => 0o644,
            Self::Secret => 0o600,
        }
    }
}

/// A directory that is filled beside its place and then put there in one step.
///
/// A crash before [`publish`](Self::publish) leaves a directory with a leading dot, which the next
/// attempt removes.
#[derive(Debug)]
pub(crate) struct StagedDirectory {
    staging: PathBuf,
    target: PathBuf,
}

impl StagedDirectory {
    /// Begins a directory for `target`, which must not exist.
    pub(crate) fn begin(target: PathBuf) -> io::Result<Self> {
        refuse_existing(&target)?;
        let staging = beside(&target);
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&staging)?,
        }
        Ok(Self { staging, target })
    }

    /// Writes one file.
    pub(crate) fn write(&self, name: &str, text: &str, secrecy: Secrecy) -> io::Result<()> {
        create(&self.staging.join(name), text, secrecy)
    }

    /// Puts the directory in its place.
    pub(crate) fn publish(self) -> io::Result<()> {
        sync_directory(&self.staging)?;
        refuse_existing(&self.target)?;
        fs::rename(&self.staging, &self.target)?;
        sync_parent(&self.target)
    }
}

/// Creates or replaces a public file.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let staging = beside(path);
    match fs::remove_file(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => create(&staging, text, Secrecy::Public)?,
    }
    fs::rename(&staging, path)?;
    sync_parent(path)
}

/// Moves a directory to a place where nothing is.
pub(crate) fn move_directory(from: &Path, to: &Path) -> io::Result<()> {
    refuse_existing(to)?;
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(from, to)?;
    sync_parent(from)?;
    sync_parent(to)
}

/// Locks a file against other processes until the handle is dropped; gives an error of the kind
/// `WouldBlock` if another process has it.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

fn create(path: &Path, text: &str, secrecy: Secrecy) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(secrecy.mode()).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn refuse_existing(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_for_the_owner_alone_and_never_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("x");
        let staged = StagedDirectory::begin(target.clone()).unwrap();
        staged.write("key.pem", "one", Secrecy::Secret).unwrap();
        staged.write("key.pem", "two", Secrecy::Secret).unwrap_err();
        staged.publish().unwrap();
        let key = target.join("key.pem");
        assert_eq!(fs::read_to_string(&key).unwrap(), "one");
        let mode = fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = StagedDirectory::begin(target).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn interrupted_attempt_does_not_stop_the_next() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("x");
        let lost = StagedDirectory::begin(target.clone()).unwrap();
        lost.write("key.pem", "lost", Secrecy::Secret).unwrap();
        let staged = StagedDirectory::begin(target.clone()).unwrap();
        staged.write("key.pem", "kept", Secrecy::Secret).unwrap();
        staged.publish().unwrap();
        assert_eq!(fs::read_to_string(target.join("key.pem")).unwrap(), "kept");
    }

    #[test]
    fn second_lock_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let held = lock(&path).unwrap();
        assert_eq!(lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        lock(&path).unwrap();
    }
}
