//! What is kept is what was folded, wherever the process dies.

use std::fs;
use std::path::Path;

use hapax::Commit;
use hapax::projection::{Definition, Fold, MemoryHome, SledHome};
use hapax::samples::Balances;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::money::{STORE, expected, folded, open, partitions, rows};

/// Commits in pieces of any size, the partitions mixed, as feeds bring them.
fn pieces(random: &mut StdRng, partitions: &[Vec<Commit>; 2]) -> Vec<(u32, Vec<Commit>)> {
    let (mut pieces, mut rest) = (Vec::new(), [&partitions[0][..], &partitions[1][..]]);
    while rest.iter().any(|rest| !rest.is_empty()) {
        let partition = random.gen_range(0..2_usize);
        let size = random.gen_range(1..8).min(rest[partition].len());
        let (piece, behind) = rest[partition].split_at(size);
        rest[partition] = behind;
        pieces.push((u32::try_from(partition).unwrap(), piece.to_vec()));
    }
    pieces
}

fn random() -> StdRng {
    let seed = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

/// What a process that is killed now leaves on the disk.
fn copy_of(home: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to.join("sled")).unwrap();
    for entry in fs::read_dir(home.join("sled")).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join("sled").join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn memory_and_sled_are_equal_and_money_is_neither_made_nor_lost() {
    let mut random = random();
    let (partitions, folder) = (partitions(&mut random, 200), tempfile::tempdir().unwrap());
    let mut memory = open(MemoryHome::default());
    let mut sled = open(SledHome::open(folder.path()).unwrap().0);
    for (partition, piece) in pieces(&mut random, &partitions) {
        memory.take(partition, piece.clone()).unwrap();
        sled.take(partition, piece).unwrap();
        assert_eq!((memory.mark(), rows(&memory)), (sled.mark(), rows(&sled)));
    }
    assert_eq!(rows(&memory), expected(partitions.iter().flatten()));
    assert_eq!((memory.mark().clone(), rows(&memory)), folded(&partitions), "however they are cut and mixed");
    assert!(partitions.iter().flatten().any(|commit| commit.followers > 0 && commit.accepted), "no transfer succeeded");
    drop(sled);
    let (home, doubt) = SledHome::open(folder.path()).unwrap();
    assert_eq!(doubt, None);
    assert_eq!(rows(&open(home)), rows(&memory));
}

/// After each write the process dies. The next one is given everything from the first commit on, and each event takes effect
/// once.
#[test]
fn a_kill_between_any_two_writes_and_everything_delivered_again() {
    let mut random = random();
    let (partitions, folder) = (partitions(&mut random, 60), tempfile::tempdir().unwrap());
    let whole = folded(&partitions);
    let (live, killed) = (folder.path().join("live"), folder.path().join("killed"));
    let mut fold = open(SledHome::open(&live).unwrap().0);
    let mut began_in_the_middle = 0;
    for (partition, piece) in pieces(&mut random, &partitions) {
        fold.take(partition, piece).unwrap();
        if random.gen_bool(0.7) {
            fold.flush().unwrap();
        }
        copy_of(&live, &killed);
        let (home, doubt) = SledHome::open(&killed).unwrap();
        assert_eq!(doubt, None, "what was written together is there together");
        let mut next = open(home);
        began_in_the_middle += usize::from(next.mark().rows.count > 0);
        for (partition, commits) in (0..).zip(&partitions) {
            next.take(partition, commits.clone()).unwrap();
        }
        assert_eq!((next.mark().clone(), rows(&next)), whole);
    }
    assert!(began_in_the_middle > 10, "only {began_in_the_middle} had something to go on from");
}

/// In the middle of a write, in a power cut, or by a bad disk: whatever is left of the file, what is folded from it is right.
/// sled passes in silence over damage behind what was there when it was opened last, and over all that follows, so that many
/// files are an older one; of others it says that they are none.
#[test]
fn whatever_is_left_of_the_file() {
    let mut random = random();
    let (partitions, folder) = (partitions(&mut random, 60), tempfile::tempdir().unwrap());
    let whole = folded(&partitions);
    let (live, killed) = (folder.path().join("live"), folder.path().join("killed"));
    let mut fold = open(SledHome::open(&live).unwrap().0);
    let pieces = pieces(&mut random, &partitions);
    for (number, (partition, piece)) in pieces.iter().enumerate() {
        if number == pieces.len() / 2 {
            drop(fold); // What is there at a start sled looks for where it was then.
            fold = open(SledHome::open(&live).unwrap().0);
            for (partition, piece) in &pieces[..number] {
                fold.take(*partition, piece.clone()).unwrap(); // Half of an atomic batch is kept nowhere.
            }
        }
        fold.take(*partition, piece.clone()).unwrap();
        fold.flush().unwrap();
    }
    let written = fs::read(live.join("sled/db")).unwrap();
    let used = written.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let (mut doubtful, mut older) = (0, 0);
    for round in 0..40 {
        let (from, length) = (random.gen_range(0..used), random.gen_range(1..512));
        let (lost, left) = match round % 4 {
            0 => (from..used, 0),
            1 => (from..(from + length).min(used), 0),
            2 => (from..from + 1, !written[from]),
            _ => (0..written.len(), 0xff),
        };
        copy_of(&live, &killed);
        let mut bytes = written.clone();
        bytes[lost.clone()].fill(left);
        fs::write(killed.join("sled/db"), bytes).unwrap();
        let (home, doubt) = SledHome::open(&killed).unwrap();
        let mut next = open(home);
        assert!(doubt.is_none() || next.mark().rows.count == 0, "what is doubted is used: {lost:?}");
        doubtful += usize::from(doubt.is_some());
        older += usize::from(doubt.is_none() && *next.mark() != whole.0);
        for (partition, commits) in (0..).zip(&partitions) {
            next.take(partition, commits.clone()).unwrap();
        }
        assert_eq!((next.mark().clone(), rows(&next)), whole, "{lost:?} was lost; {doubt:?}");
    }
    println!("{doubtful} of 40 files were doubtful, {older} were older ones");
    assert!(0 < doubtful && 0 < older, "{doubtful} files were doubtful, {older} were older ones");
}

#[test]
fn no_half_of_an_atomic_batch_is_ever_visible() {
    let mut random = random();
    let partitions = partitions(&mut random, 200);
    let mut fold = open(MemoryHome::default());
    let (mut halves, mut owed) = (0, 0);
    for (index, commit) in partitions[0].iter().enumerate() {
        owed = if owed == 0 { commit.followers } else { owed - 1 };
        let before = rows(&fold);
        fold.take(0, vec![commit.clone()]).unwrap();
        if owed == 0 {
            assert_eq!(rows(&fold), expected(&partitions[0][..=index]));
            assert_eq!(fold.mark().partitions[0].unwrap().position, commit.position);
        } else {
            halves += 1;
            assert_eq!(rows(&fold), before);
            assert!(fold.mark().partitions[0].is_none_or(|place| place.position < commit.position));
        }
    }
    assert!(halves > 0);
}

#[test]
fn another_version_and_a_lost_row_are_folded_anew() {
    let mut random = random();
    let (partitions, folder) = (partitions(&mut random, 60), tempfile::tempdir().unwrap());
    let mut fold = open(SledHome::open(folder.path()).unwrap().0);
    for (partition, commits) in (0..).zip(&partitions) {
        fold.take(partition, commits.clone()).unwrap();
    }
    let count = fold.mark().rows.count;
    drop(fold);
    let sled = || loop {
        // Threads of sled hold its lock for some milliseconds more.
        if let Ok(db) = sled::open(folder.path().join("sled")) {
            break db;
        }
    };
    let db = sled();
    let (place, _) = db.scan_prefix("balances").next().unwrap().unwrap();
    let row = db.insert(&place, br#"{"accounts":1,"balance":1}"#).unwrap().unwrap();
    drop(db);
    let (home, doubt) = SledHome::open(folder.path()).unwrap();
    assert_eq!(doubt, Some(format!("the {count} rows that are kept are not the {count} that were written")));
    let mut fold = open(home);
    assert_eq!((fold.mark().rows.count, rows(&fold).len()), (0, 0));
    for (partition, commits) in (0..).zip(&partitions) {
        fold.take(partition, commits.clone()).unwrap();
    }
    assert_eq!(rows(&fold), folded(&partitions).1);
    drop(fold);
    let db = sled();
    assert_eq!(db.get(place).unwrap(), Some(row));
    let mark = String::from_utf8(db.get(b"\0mark").unwrap().unwrap().to_vec()).unwrap();
    db.insert(b"\0mark", mark.replacen(r#""version":1"#, r#""version":2"#, 1).as_bytes()).unwrap();
    drop(db);
    let (home, doubt) = SledHome::open(folder.path()).unwrap();
    assert_eq!(doubt, None);
    let (fold, why) = Fold::open(Definition::of::<Balances>(), Box::new(home), STORE, 2).unwrap();
    assert_eq!(why.as_deref(), Some("version 2 folded it, and this is version 1"));
    assert!(rows(&fold).is_empty());
}
