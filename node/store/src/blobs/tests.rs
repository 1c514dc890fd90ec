//! One replica's shelf: what comes in any order, what is not what it claims to be, and what a power cut leaves.

use std::time::Duration;

use caps_model::blob::CHUNK_BYTES;
use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::storage::MemoryStorage;

/// Jobs run inline and nobody else holds a lock: nothing waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits")
}

fn open(disk: &MemoryStorage, at: Instant) -> Blobs {
    Blobs::open(Arc::new(disk.clone()), 7, Worker::inline(), at).unwrap()
}

fn content(size: usize) -> (Vec<u8>, Table) {
    let bytes: Vec<u8> = (0..size).map(|at| u8::try_from((at / 3 + at) % 253).unwrap()).collect();
    let table = Table::of(&bytes).unwrap();
    (bytes, table)
}

fn chunk_of(bytes: &[u8], index: u32) -> Vec<u8> {
    bytes.chunks(CHUNK_BYTES).nth(index as usize).unwrap_or_default().to_vec()
}

/// What an uploader may do, well or badly.
#[derive(Clone, Debug)]
enum Step {
    Begin,
    Put(u32),
    /// The bytes of one chunk as another one.
    Mistaken(u32),
    Flipped(u32, usize),
    Short(u32),
    Beyond(u32),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Begin),
        8 => (0..4_u32).prop_map(Step::Put),
        1 => (0..4_u32).prop_map(Step::Mistaken),
        1 => (0..4_u32, any::<usize>()).prop_map(|(index, at)| Step::Flipped(index, at)),
        1 => (0..4_u32).prop_map(Step::Short),
        1 => (4..u32::MAX).prop_map(Step::Beyond),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_whatever_order_only_the_blob_itself_is_ever_here(steps in steps(), last in 1..CHUNK_BYTES) {
        let (disk, at) = (MemoryStorage::new(), Instant::now());
        let mut blobs = open(&disk, at);
        let (bytes, table) = content(3 * CHUNK_BYTES + last);
        let blob = table.id();
        let (mut begun, mut there) = (false, [false; 4]);
        for step in steps {
            let put = |index: u32, bytes: Vec<u8>| now(blobs.put(blob, index, bytes, at));
            let is_whole = there == [true; 4];
            match step {
                Step::Begin => {
                    let progress = now(blobs.begin(table.clone(), at)).unwrap();
                    prop_assert_eq!(progress.chunks as usize, there.iter().filter(|there| **there).count());
                    begun = true;
                }
                Step::Put(index) => match put(index, chunk_of(&bytes, index)) {
                    Ok(progress) => {
                        prop_assert!(begun || is_whole);
                        there[index as usize] = true;
                        let missing = there.iter().position(|there| !there).map(|missing| u32::try_from(missing).unwrap());
                        prop_assert_eq!(progress.missing, missing);
                    }
                    Err(error) => prop_assert!(!begun && matches!(error, BlobError::NotBegun), "{}", error),
                },
                Step::Mistaken(index) => prop_assert!(is_whole || there[index as usize] || put(index, chunk_of(&bytes, (index + 1) % 3)).is_err()),
                Step::Flipped(index, at_byte) => {
                    let mut flipped = chunk_of(&bytes, index);
                    let at_byte = at_byte % flipped.len();
                    flipped[at_byte] ^= 1;
                    prop_assert!(is_whole || there[index as usize] || put(index, flipped).is_err());
                }
                Step::Short(index) => prop_assert!(is_whole || put(index, chunk_of(&bytes, index)[1..].to_vec()).is_err()),
                Step::Beyond(index) => prop_assert!(is_whole || put(index, chunk_of(&bytes, 0)).is_err()),
                Step::Restart => {
                    blobs = open(&disk, at);
                    begun = false;
                }
            }
            prop_assert_eq!(blobs.holds(blob, at), there == [true; 4]);
        }
        if blobs.holds(blob, at) {
            for index in 0..4 {
                prop_assert_eq!(now(blobs.chunk(blob, index, at)).unwrap(), chunk_of(&bytes, index));
            }
            prop_assert!(matches!(now(blobs.chunk(blob, 4, at)), Err(BlobError::Refused(_))));
        } else {
            prop_assert!(matches!(now(blobs.table(blob, at)), Err(BlobError::Absent)));
        }
    }
}

/// The power goes at every change of the disk, and the disk happened to get to all, to nothing, or to every other sector of what was not synced.
#[test]
fn a_blob_that_was_said_to_be_here_is_here_after_a_power_cut_at_any_change() {
    let (bytes, table) = content(2 * CHUNK_BYTES + 5);
    let upload = |disk: &MemoryStorage| -> Result<(), BlobError> {
        let at = Instant::now();
        let blobs = open(disk, at);
        now(blobs.begin(table.clone(), at))?;
        for index in [1, 0, 2] {
            now(blobs.put(table.id(), index, chunk_of(&bytes, index), at))?;
        }
        Ok(())
    };
    let whole = MemoryStorage::new();
    upload(&whole).unwrap();
    let changes = whole.operations();
    assert!(changes > 5, "{changes}");
    for halt in 0..=changes {
        for luck in 0..3 {
            let disk = MemoryStorage::new();
            disk.halt_after(halt);
            let said = upload(&disk).is_ok();
            assert_eq!(said, halt == changes);
            let mut sectors = 0_u64;
            disk.power_cut(|| {
                sectors += 1;
                luck == 1 || luck == 2 && sectors.is_multiple_of(2)
            });
            let at = Instant::now();
            let blobs = open(&disk, at);
            let here = blobs.holds(table.id(), at);
            assert!(here || !said, "halted at {halt} with luck {luck}: it was said to be here");
            // Whatever was left, another upload brings it to its end, and then it is what it was.
            upload(&disk).unwrap();
            let blobs = open(&disk, at);
            for index in 0..3 {
                assert_eq!(now(blobs.chunk(table.id(), index, at)).unwrap(), chunk_of(&bytes, index), "halted at {halt} with luck {luck}");
            }
        }
    }
}

#[test]
fn a_failed_sync_is_final_for_what_was_written_and_the_next_upload_begins_with_nothing() {
    let (bytes, table) = content(100_000);
    let (disk, at) = (MemoryStorage::new(), Instant::now());
    let blobs = open(&disk, at);
    now(blobs.begin(table.clone(), at)).unwrap();
    disk.fail_sync(0);
    assert!(matches!(now(blobs.put(table.id(), 0, bytes.clone(), at)), Err(BlobError::Storage(_))));
    assert!(!blobs.holds(table.id(), at));
    assert_eq!(now(blobs.begin(table.clone(), at)).unwrap().chunks, 0, "what was written before the sync failed is not believed");
    now(blobs.put(table.id(), 0, bytes, at)).unwrap();
    assert!(blobs.holds(table.id(), at));
}

#[test]
fn limits_are_kept() {
    let (disk, at) = (MemoryStorage::new(), Instant::now());
    let blobs = open(&disk, at);
    disk.limit_capacity(1 << 20);
    let (_, large) = content(2 << 20);
    assert!(matches!(now(blobs.begin(large.clone(), at)), Err(BlobError::Storage(StorageError::Full { .. }))));
    assert_eq!(disk.list().unwrap(), Vec::<String>::new(), "half a part is not left behind");
    disk.limit_capacity(u64::MAX);
    for size in 1..=limits::PARTS_MAX {
        now(blobs.begin(content(size).1, at)).unwrap();
    }
    assert!(matches!(now(blobs.begin(large.clone(), at)), Err(BlobError::Busy)));
    // One that nobody is at makes room, and can be gone on with.
    let later = at + Duration::from_secs(60);
    now(blobs.begin(large, later)).unwrap();
    let (bytes, first) = (1..=limits::PARTS_MAX).map(content).find(|(_, part)| blobs.index().arriving(part.id(), at).is_err()).unwrap();
    assert!(matches!(now(blobs.put(first.id(), 0, bytes.clone(), later)), Err(BlobError::NotBegun)));
    let much_later = later + Duration::from_secs(60);
    now(blobs.begin(first.clone(), much_later)).unwrap();
    now(blobs.put(first.id(), 0, bytes, much_later)).unwrap();
    // 32 GiB that nobody names, and not a byte more.
    let (mut index, gib4) = (Index::default(), caps_model::blob::SIZE_BYTES_MAX);
    let largest = |number: u8| Table::new(gib4, vec![[number; 32]; 16_384]).unwrap();
    for number in 0..8 {
        assert!(matches!(index.place(largest(number).id(), largest(number), at), Ok(Put::Arriving(_))));
    }
    assert!(matches!(index.place(content(1).1.id(), content(1).1, at), Err(BlobError::TooMuchUnnamed)));
    index.name(largest(9).id(), 1, at);
    assert!(index.place(largest(9).id(), largest(9), at).is_ok(), "what a commit named is taken");
}

#[test]
fn an_empty_blob_is_a_blob() {
    let (disk, at) = (MemoryStorage::new(), Instant::now());
    let blobs = open(&disk, at);
    let table = Table::of(&[]).unwrap();
    assert_eq!(now(blobs.begin(table.clone(), at)).unwrap(), Progress { chunks: 0, missing: None });
    assert!(blobs.holds(table.id(), at) && open(&disk, at).holds(table.id(), at));
}

#[test]
fn whole_files_of_a_wrong_length_are_set_aside_at_the_start() {
    let (bytes, table) = content(70_000);
    let (disk, at) = (MemoryStorage::new(), Instant::now());
    let blobs = open(&disk, at);
    now(blobs.begin(table.clone(), at)).unwrap();
    now(blobs.put(table.id(), 0, bytes, at)).unwrap();
    blobs.note(7, [table.id()], at);
    now(blobs.keep_notes()).unwrap();
    let name = format!("blob-{}", files::hex(&table.id().hash));
    for length in [0, 10, 60_000, 80_000] {
        let disk = disk.copy();
        disk.open(&name).unwrap().truncate(length).unwrap();
        let blobs = open(&disk, at);
        assert!(!blobs.holds(table.id(), at));
        assert_eq!(blobs.noted(), 7);
        assert_eq!(blobs.errand(at).unwrap().blob, table.id(), "it is wanted back");
        assert_eq!(disk.list().unwrap(), [format!("{name}.damaged-1"), "blob-names".to_owned()]);
    }
}

#[test]
fn what_nobody_names_goes_after_a_day_and_what_somebody_names_or_asks_about_stays() {
    let (disk, at) = (MemoryStorage::new(), Instant::now());
    let blobs = open(&disk, at);
    let [named, asked, unnamed] = [1_000, 2_000, 3_000].map(content);
    for (bytes, table) in [&named, &asked, &unnamed] {
        now(blobs.begin(table.clone(), at)).unwrap();
        now(blobs.put(table.id(), 0, bytes.clone(), at)).unwrap();
    }
    now(blobs.begin(content(4_000).1, at)).unwrap();
    blobs.note(1, [named.1.id()], at);
    let hours = |hours: u64| at + Duration::from_secs(hours * 3_600);
    now(blobs.sweep(hours(23))).unwrap();
    assert_eq!(disk.list().unwrap().len(), 4);
    assert!(blobs.holds(asked.1.id(), hours(23)));
    now(blobs.sweep(hours(24))).unwrap();
    let here = |table: &Table, at| blobs.holds(table.id(), at);
    assert!(here(&named.1, at) && here(&asked.1, at) && !here(&unnamed.1, at));
    assert_eq!(disk.list().unwrap().len(), 2, "the part is gone, too");
    // A restart knows only what was noted: it gives everything else another day.
    let blobs = open(&disk, hours(24));
    now(blobs.sweep(hours(47))).unwrap();
    assert_eq!(disk.list().unwrap().len(), 2);
}
