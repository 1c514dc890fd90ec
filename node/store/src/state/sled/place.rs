//! The directory that a state is in, and those beside it: opening, setting aside, wiping.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use sled::Db;

use super::{StateError, engine};

/// Opens the database, waiting for its lock: sled's own threads hold it a little longer than the handle that was dropped last.
pub(super) fn open_database(path: &Path) -> Result<Db, StateError> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES);
    for _ in 0..LOCK_ATTEMPTS {
        // sled panics on some damaged files where it should fail.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        match opened.map_err(|_| StateError::Lacks { what: "files that sled can open without a panic".to_owned() })? {
            Ok(database) => return Ok(database),
            // sled gives this failure no kind of its own.
            Err(sled::Error::Io(error)) if error.to_string().starts_with("could not acquire lock") => thread::park_timeout(LOCK_PAUSE),
            Err(error) => return Err(engine(error)),
        }
    }
    Err(StateError::InUse { path: path.display().to_string() })
}

/// Setting a state aside helps against damage, not against a full disk, missing permission, or another process.
pub(super) fn is_no_fault_of_the_state(error: &StateError) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let is_of_the_system = |error: &io::Error| matches!(error.kind(), PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull);
    match error {
        StateError::InUse { .. } => true,
        StateError::Engine(source) => match source.downcast_ref::<sled::Error>() {
            Some(sled::Error::Io(error)) => is_of_the_system(error),
            Some(_) => false,
            None => source.downcast_ref().is_some_and(is_of_the_system),
        },
        StateError::Malformed { .. } | StateError::Lacks { .. } | StateError::Damaged { .. } => false,
    }
}

/// What was found wrong with a state while it was read, if that was noted.
pub(super) fn noted_damage(path: &Path) -> Option<String> {
    match fs::read_to_string(path.join(DAMAGED)) {
        Ok(reason) => Some(reason),
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.kind() == io::ErrorKind::NotADirectory => None,
        Err(_) => Some("something that could not be noted".to_owned()),
    }
}

/// Gives a state's directory the first free name of `<name>.quarantine-1`, `-2`, ...
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for aside in quarantines(path) {
        if !aside.exists() {
            fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::Error::other(format!("{QUARANTINES_MAX} states were set aside already: inspect and remove them")))
}

/// Where states that were set aside are.
pub(super) fn quarantines(path: &Path) -> impl Iterator<Item = PathBuf> {
    (1..=QUARANTINES_MAX).map(move |number| beside(path, &format!("quarantine-{number}")))
}

/// `<path>.<what>`
pub(super) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    PathBuf::from(name)
}

/// Waits until nobody has the database in this directory open.
pub(super) fn wait_until_closed(path: &Path) -> io::Result<()> {
    let file = match File::open(path.join(DATABASE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for _ in 0..LOCK_ATTEMPTS {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) => thread::park_timeout(LOCK_PAUSE),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::Error::other(format!("{} is in use by another process", path.display())))
}

/// Overwrites everything in a file or directory with zeros, and removes it. What is not there is wiped already.
pub(super) fn wipe(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            wipe(&entry?.path())?;
        }
        return fs::remove_dir(path);
    }
    if kind.is_file() {
        zero(path)?;
    }
    fs::remove_file(path)
}

fn zero(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let mut left = file.metadata()?.len();
    let zeros = vec![0; ZEROS_BYTES];
    while left > 0 {
        let part = left.min(ZEROS_BYTES as u64);
        file.write_all(&zeros[..usize::try_from(part).unwrap_or(ZEROS_BYTES)])?;
        left -= part;
    }
    file.sync_data()
}

/// Makes everything in a directory durable, and that it is there.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync(&entry.path())?,
            false => File::open(entry.path())?.sync_all()?,
        }
    }
    File::open(directory)?.sync_all()
}

/// Makes names in the directory that a path is in durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

/// The file in which the state notes what was found wrong with it.
pub(super) const DAMAGED: &str = "damaged";

/// The file that sled locks.
const DATABASE: &str = "db";

/// Pages of the database that sled keeps in memory; what is read often is kept unpacked, elsewhere.
const CACHE_BYTES: u64 = 16 << 20;

/// How often the lock is tried, and how long is waited in between: two seconds together.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A state that goes bad this often has a cause that rebuilding does not cure.
const QUARANTINES_MAX: u32 = 100;

/// Zeros written at once.
const ZEROS_BYTES: usize = 1 << 20;
