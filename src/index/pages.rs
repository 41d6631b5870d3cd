//! Many small entries in few of sled's: keys in order, with values of one length, packed into pages.
//!
//! sled puts at most 16 entries into one of its nodes, keeps some hundred bytes in memory for every node that there is,
//! and clones a node at each write. Ten million entries of their own are more than half a GiB, and a start that reads them
//! node by node. So an entry of sled is a page of ours: its key is where the page begins, and it holds what lies between
//! that and the beginning of the next one.
//!
//! A page is written whole, so its length follows what comes to it at once: those that many entries come to at a time (ids
//! in the order of time, heads of few aggregates) are long, others (random ids) short. One that is too long is cut, into a
//! page with the old key and others behind it:
//! 1. the last of them is written first, so that what moves is always in the page that it is looked for in, or still in
//!    the old one;
//! 2. a crash in between leaves the old page with entries that have moved. They lie behind the beginning of the next page,
//!    so nobody looks for them there; no scan shows them, and the next note to the page drops them;
//! 3. whoever reads meanwhile waits: to find a page, sled may look at two of its nodes, one after the other.

use std::sync::{PoisonError, RwLock};

use sled::IVec;

use super::IndexError;
use super::sled_index::guarded;

/// Where the first page begins. All keys are above it.
const FIRST_PAGE: &[u8] = &[0];

/// A page of so many bytes is not cut, whatever comes to it.
const PAGE_BYTES_MIN: usize = 512;

/// Bytes of a page when it is written, up to one entry more. sled writes 17 together, and what is above 128 KiB to a file
/// of its own (a "blob"), whose loss it passes over in silence.
const PAGE_BYTES_MAX: usize = 4 * 1024;

/// A page above [`PAGE_BYTES_MIN`] is cut if it has more than so many times the bytes that are written to it.
const BYTES_FOR_A_BYTE: usize = 4;

/// A tree of pages.
pub(super) struct Pages<const VALUE_BYTES: usize> {
    tree: sled::Tree,
    name: &'static str,
    /// Held to read, and alone while a page is cut.
    cutting: RwLock<()>,
}

/// A page as it was read.
pub(super) struct Page<const VALUE_BYTES: usize> {
    tree: &'static str,
    begins: IVec,
    bytes: IVec,
    /// Where the next one begins; `None`: it is the last.
    next: Option<IVec>,
}

impl<const VALUE_BYTES: usize> Pages<VALUE_BYTES> {
    pub(super) fn open(db: &sled::Db, name: &'static str) -> Result<Self, IndexError> {
        guarded(|| Ok(Pages { tree: db.open_tree(name)?, name, cutting: RwLock::default() }))
    }

    pub(super) fn is_empty(&self) -> Result<bool, IndexError> {
        guarded(|| Ok(self.tree.iter().next().transpose()?.is_none()))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<[u8; VALUE_BYTES]>, IndexError> {
        let _whole = self.cutting.read().unwrap_or_else(PoisonError::into_inner);
        let Some((_, bytes)) = self.page_for(key)? else { return Ok(None) };
        for entry in Entries::of(self.name, &bytes) {
            let (found, value) = entry?;
            if found == key {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Notes what `keep` says, of each item and of the value that its key has already; nothing of a page if it fails. The
    /// items are in the order of their keys; those of one key one after the other. Called by one thread at a time.
    pub(super) fn note<T>(
        &self,
        mut items: &[(Vec<u8>, T)],
        keep: impl Fn(&T, Option<[u8; VALUE_BYTES]>) -> Result<[u8; VALUE_BYTES], IndexError>,
    ) -> Result<(), IndexError> {
        while let Some((key, _)) = items.first() {
            let (begins, bytes) = self.page_for(key)?.unwrap_or_else(|| (FIRST_PAGE.into(), IVec::default()));
            let next = guarded(|| Ok(self.tree.get_gt(&begins)?))?.map(|(next, _)| next);
            let page = Page { tree: self.name, begins, bytes, next };
            let (here, behind) = items.split_at(items.partition_point(|(key, _)| page.may_hold(key)));
            self.note_in(&page, here, &keep)?;
            items = behind;
        }
        Ok(())
    }

    fn note_in<T>(
        &self,
        page: &Page<VALUE_BYTES>,
        items: &[(Vec<u8>, T)],
        keep: impl Fn(&T, Option<[u8; VALUE_BYTES]>) -> Result<[u8; VALUE_BYTES], IndexError>,
    ) -> Result<(), IndexError> {
        let before = page.entries().collect::<Result<Vec<_>, _>>()?;
        let mut before = before.into_iter().peekable();
        let mut entries: Vec<(&[u8], [u8; VALUE_BYTES])> = Vec::with_capacity(before.len() + items.len());
        let mut written = 0;
        for (key, item) in items {
            while let Some(entry) = before.next_if(|(before, _)| *before <= &key[..]) {
                entries.push(entry);
            }
            let same_key = entries.last_mut().filter(|(last, _)| *last == &key[..]);
            let old = same_key.as_ref().map(|(_, value)| *value);
            let new = keep(item, old)?;
            if old != Some(new) {
                written += entry_bytes::<VALUE_BYTES>(key);
                match same_key {
                    Some((_, value)) => *value = new,
                    None => entries.push((key, new)),
                }
            }
        }
        if written == 0 {
            return Ok(());
        }
        entries.extend(before);
        let bytes_max = (BYTES_FOR_A_BYTE * written).clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX);
        self.write(&page.begins, cut(&entries, bytes_max))
    }

    /// Puts pages in the place of the one with this key. The first of them gets it.
    fn write(&self, begins: &[u8], pages: Vec<(&[u8], Vec<u8>)>) -> Result<(), IndexError> {
        let _alone = (pages.len() > 1).then(|| self.cutting.write().unwrap_or_else(PoisonError::into_inner));
        for (number, (border, bytes)) in pages.into_iter().enumerate().rev() {
            let begins = if number == 0 { begins } else { border };
            guarded(|| Ok(self.tree.insert(begins, bytes)?))?;
        }
        Ok(())
    }

    /// The pages that begin at `from` or behind it and before `upto`, in order, until the first error.
    pub(super) fn pages(
        &self,
        from: &[u8],
        upto: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<Page<VALUE_BYTES>, IndexError>> + use<VALUE_BYTES> {
        let (name, upto) = (self.name, upto.map(<[u8]>::to_vec));
        let (mut pages, tree) = (self.tree.range(from..), self.tree.clone());
        // sled's iterator asks its cache once for a node of up to 16 pages, and the cache looks at its size at every 64th
        // access to one of its 256 shards (sled 0.34.7, `iter.rs` and `lru.rs`): so many nodes of each are in memory beside
        // what it counts. A start that read 600 MB held 430 MiB, and holds 167 since each page is an access of its own,
        // whatever the answer is.
        let mut read = move || {
            let read = guarded(|| {
                let page = pages.next().transpose()?;
                if let Some((begins, _)) = &page {
                    tree.contains_key(begins)?;
                }
                Ok(page)
            });
            read.transpose()
        };
        let mut ahead = read();
        std::iter::from_fn(move || {
            let page = ahead.take()?.map(|(begins, bytes)| {
                ahead = read();
                let next = ahead.as_ref().and_then(|next| next.as_ref().ok()).map(|(next, _)| next.clone());
                Page { tree: name, begins, bytes, next }
            });
            let is_behind = |page: &Page<VALUE_BYTES>| upto.as_deref().is_some_and(|upto| upto <= &page.begins[..]);
            (!page.as_ref().is_ok_and(is_behind)).then_some(page)
        })
    }

    /// The first key, and where the last page before `upto` begins.
    pub(super) fn span(&self, upto: &[u8]) -> Result<Option<(Vec<u8>, IVec)>, IndexError> {
        let Some(page) = self.pages(&[], None).next().transpose()? else { return Ok(None) };
        let first = page.entries().next().transpose()?.map(|(key, _)| key.to_vec());
        Ok(first.zip(self.page_for(upto)?.map(|(begins, _)| begins)))
    }

    /// The page that a key is in, if it is anywhere.
    fn page_for(&self, key: &[u8]) -> Result<Option<(IVec, IVec)>, IndexError> {
        guarded(|| Ok(self.tree.range(..=key).next_back().transpose()?))
    }
}

impl<const VALUE_BYTES: usize> Page<VALUE_BYTES> {
    /// What is found in this page, until the first error.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<(&[u8], [u8; VALUE_BYTES]), IndexError>> {
        Entries::of(self.tree, &self.bytes).filter(|entry| entry.as_ref().map_or(true, |(key, _)| self.may_hold(key)))
    }

    /// Whether a key is looked for in this page.
    fn may_hold(&self, key: &[u8]) -> bool {
        *self.begins <= *key && self.next.as_ref().is_none_or(|next| *key < **next)
    }
}

/// The entries in the bytes of a page, one behind the other: length of the key (two bytes), key, value.
struct Entries<'page, const VALUE_BYTES: usize> {
    tree: &'static str,
    rest: &'page [u8],
}

impl<'page, const VALUE_BYTES: usize> Entries<'page, VALUE_BYTES> {
    fn of(tree: &'static str, page: &'page [u8]) -> Self {
        Entries { tree, rest: page }
    }

    fn take_one(&mut self) -> Option<(&'page [u8], [u8; VALUE_BYTES])> {
        let (length, behind) = self.rest.split_first_chunk()?;
        let (key, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (value, behind) = behind.split_first_chunk()?;
        self.rest = behind;
        Some((key, *value))
    }
}

impl<'page, const VALUE_BYTES: usize> Iterator for Entries<'page, VALUE_BYTES> {
    type Item = Result<(&'page [u8], [u8; VALUE_BYTES]), IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.take_one();
        if entry.is_none() {
            self.rest = &[]; // Nothing behind it can be told from its middle.
        }
        Some(entry.ok_or(IndexError::Entry { tree: self.tree }))
    }
}

fn entry_bytes<const VALUE_BYTES: usize>(key: &[u8]) -> usize {
    size_of::<u16>() + key.len() + VALUE_BYTES
}

/// Puts entries into pages of about the same length: as few as have room for all. Each with where it may begin.
fn cut<'key, const VALUE_BYTES: usize>(
    entries: &[(&'key [u8], [u8; VALUE_BYTES])],
    bytes_max: usize,
) -> Vec<(&'key [u8], Vec<u8>)> {
    let total: usize = entries.iter().map(|(key, _)| entry_bytes::<VALUE_BYTES>(key)).sum();
    let count = total.div_ceil(bytes_max);
    let mut pages: Vec<(&[u8], Vec<u8>)> = Vec::with_capacity(count);
    let (mut offset, mut last): (usize, &[u8]) = (0, &[]);
    for (key, value) in entries {
        if pages.len() <= offset * count / total {
            pages.push((border(last, key), Vec::with_capacity(total / count + bytes_max / 8)));
        }
        let (_, page) = pages.last_mut().expect("the first entry begins the first page");
        page.extend_from_slice(&u16::try_from(key.len()).expect("tokens are short").to_be_bytes());
        page.extend_from_slice(key);
        page.extend_from_slice(value);
        offset += entry_bytes::<VALUE_BYTES>(key);
        last = key;
    }
    pages
}

/// The shortest that is above `below` and not above `key`: sled keeps it several times.
fn border<'key>(below: &[u8], key: &'key [u8]) -> &'key [u8] {
    let same = below.iter().zip(key).take_while(|(one, other)| one == other).count();
    &key[..=same]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::thread;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    type Notes = BTreeMap<Vec<u8>, u64>;

    fn pages() -> Pages<8> {
        Pages::open(&sled::Config::new().temporary(true).open().unwrap(), "test").unwrap()
    }

    /// Notes what is higher than what is there.
    fn note(pages: &Pages<8>, notes: &Notes) {
        let items: Vec<(Vec<u8>, u64)> = notes.iter().map(|(key, value)| (key.clone(), *value)).collect();
        let highest = |new: &u64, old: Option<[u8; 8]>| Ok(old.map_or(*new, |old| u64::from_be_bytes(old).max(*new)));
        pages.note(&items, |new, old| highest(new, old).map(u64::to_be_bytes)).unwrap();
    }

    fn add(all: &mut Notes, notes: &Notes) {
        for (key, value) in notes {
            all.entry(key.clone()).and_modify(|old| *old = (*old).max(*value)).or_insert(*value);
        }
    }

    /// What a scan shows. A key that it shows twice is a defect.
    fn scanned(pages: &Pages<8>) -> Notes {
        let mut all = Notes::new();
        for page in pages.pages(&[], None) {
            for entry in page.unwrap().entries() {
                let (key, value) = entry.unwrap();
                assert_eq!(all.insert(key.to_vec(), u64::from_be_bytes(value)), None, "{key:?} twice");
            }
        }
        all
    }

    fn assert_holds(pages: &Pages<8>, notes: &Notes) {
        for (key, value) in notes {
            assert_eq!(pages.get(key).unwrap(), Some(value.to_be_bytes()), "{key:?}");
        }
    }

    /// Some to be packed tightly, some loosely, in all lengths.
    fn notes() -> impl Strategy<Value = Notes> {
        let key = prop_oneof![
            "[b-d]{1,4}".prop_map(String::into_bytes),
            any::<u16>().prop_map(|number| [&b"long".repeat(8)[..], &number.to_be_bytes()].concat()),
            (any::<u8>(), "x{0,200}").prop_map(|(first, text)| [&[1, first], text.as_bytes()].concat()),
        ];
        let few = proptest::collection::btree_map(key.clone(), any::<u64>(), 0..8);
        prop_oneof![few, proptest::collection::btree_map(key, any::<u64>(), 0..400)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn pages_are_a_map(chunks in proptest::collection::vec(notes(), 1..12), strangers in notes(), upto: Vec<u8>) {
            let pages = pages();
            let mut all = Notes::new();
            for chunk in chunks {
                note(&pages, &chunk);
                add(&mut all, &chunk);
            }
            assert_holds(&pages, &all);
            for key in strangers.keys() {
                prop_assert_eq!(pages.get(key).unwrap().map(u64::from_be_bytes), all.get(key).copied());
            }
            prop_assert_eq!(scanned(&pages), all);
            let begins = |from, upto| pages.pages(from, upto).map(|page| page.unwrap().begins).collect::<Vec<_>>();
            prop_assert_eq!([begins(&[], Some(&upto)), begins(&upto, None)].concat(), begins(&[], None));
            for page in pages.tree.iter().values() {
                prop_assert!(page.unwrap().len() < PAGE_BYTES_MAX + 300);
            }
        }

        /// 1. A page is written in the place of a longer one, and the process is killed before all others are.
        /// 2. What had moved was in none.
        #[test]
        fn a_crash_between_two_writes_loses_nothing(first in notes(), second in notes(), third in notes()) {
            let pages_before = pages();
            note(&pages_before, &first);
            let before: Vec<(IVec, IVec)> = pages_before.tree.iter().map(Result::unwrap).collect();
            let mut writes = pages_before.tree.watch_prefix([]);
            note(&pages_before, &second);
            let mut all = first.clone();
            add(&mut all, &second);
            let mut written = Vec::new();
            while let Ok(sled::Event::Insert { key, value }) = writes.next_timeout(Duration::ZERO) {
                let pages = pages();
                for (begins, bytes) in before.iter().chain(&written) {
                    pages.tree.insert(begins, bytes).unwrap();
                }
                let found = scanned(&pages);
                prop_assert!(first.iter().all(|(key, value)| found.get(key).is_some_and(|found| value <= found)));
                let mut with_third = all.clone();
                add(&mut with_third, &third);
                note(&pages, &third);
                note(&pages, &second); // The notes are repeated.
                assert_holds(&pages, &with_third);
                prop_assert_eq!(scanned(&pages), with_third);
                written.push((key, value));
            }
            prop_assert!(second.iter().all(|(key, value)| first.get(key) >= Some(value)) || !written.is_empty());
        }

        #[test]
        fn bytes_that_are_no_page_end_with_an_error(bytes: Vec<u8>) {
            let entries: Vec<_> = Entries::<8>::of("test", &bytes).collect();
            prop_assert!(entries.iter().rev().skip(1).all(Result::is_ok));
            let read: usize = entries.iter().flatten().map(|(key, _)| entry_bytes::<8>(key)).sum();
            prop_assert_eq!(read == bytes.len(), entries.last().is_none_or(Result::is_ok));
        }
    }

    /// So long nothing must come of what waits for another.
    const HELD: Duration = Duration::from_millis(100);

    /// 1. A page is cut: the entry is behind the new border, and a reader has looked at the page in front of it.
    /// 2. It has found nothing there.
    #[test]
    fn who_reads_while_a_page_is_cut_waits() {
        let pages = pages();
        note(&pages, &[(b"key".to_vec(), 7)].into());
        thread::scope(|scope| {
            let (found_in, found) = mpsc::channel();
            let cutting = pages.cutting.write().unwrap();
            let whole = pages.tree.remove(FIRST_PAGE).unwrap().unwrap();
            scope.spawn({
                let pages = &pages;
                move || found_in.send(pages.get(b"key").unwrap())
            });
            assert_eq!(found.recv_timeout(HELD), Err(RecvTimeoutError::Timeout), "it has not waited");
            pages.tree.insert(FIRST_PAGE, whole).unwrap();
            drop(cutting);
            assert_eq!(found.recv().unwrap(), Some(7_u64.to_be_bytes()));
        });
    }

    #[test]
    fn a_page_is_cut_when_nobody_reads_and_only_that_waits() {
        let pages = pages();
        let many: Notes = (0..500_u16).map(|number| (number.to_be_bytes().to_vec(), 7)).collect();
        thread::scope(|scope| {
            let (noted_in, noted) = mpsc::channel();
            let reading = pages.cutting.read().unwrap();
            note(&pages, &[(vec![0, 1], 1)].into()); // One page, with which nothing moves.
            let before: Vec<_> = pages.tree.iter().map(Result::unwrap).collect();
            scope.spawn({
                let (pages, many) = (&pages, &many);
                move || {
                    note(pages, many);
                    noted_in.send(())
                }
            });
            assert_eq!(noted.recv_timeout(HELD), Err(RecvTimeoutError::Timeout), "it has not waited");
            assert_eq!(pages.tree.iter().map(Result::unwrap).collect::<Vec<_>>(), before);
            drop(reading);
            noted.recv().unwrap();
        });
        assert!(pages.tree.len() > 1, "no page was cut");
        assert_holds(&pages, &many);
    }

    /// 1. A tree is larger than the cache, and is read from its beginning to its end.
    /// 2. Most of it stayed in memory: of 128 MiB 100.
    #[cfg(target_os = "linux")]
    #[test]
    fn reading_everything_does_not_keep_it() {
        const PAGES: usize = 64 * 1_024;
        const PAGE_BYTES: usize = 2 * 1_024;
        const KEPT_KIB_MAX: u64 = 48 * 1_024;
        // nextest gives each test a process, whose memory is then this test's. Where others share it, it is run again, alone.
        if std::env::var_os("NEXTEST").is_none() {
            let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
            alone.args(["--exact", "index::pages::tests::reading_everything_does_not_keep_it"]).env("NEXTEST", "1");
            let said = String::from_utf8(alone.output().unwrap().stdout).unwrap();
            assert!(said.contains("1 passed"), "{said}");
            return;
        }
        let resident_kib = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
        };
        let folder = tempfile::tempdir().unwrap(); // What sled has for temporary ones is in memory.
        let config = sled::Config::new().path(folder.path()).cache_capacity(1_024 * 1_024).flush_every_ms(None);
        let pages = Pages::<8>::open(&config.open().unwrap(), "test").unwrap();
        for number in 0..PAGES {
            pages.tree.insert(number.to_be_bytes(), vec![0; PAGE_BYTES]).unwrap();
        }
        let before = resident_kib();
        let read: usize = pages.pages(&[], None).map(|page| page.unwrap().bytes.len()).sum();
        assert_eq!(read, PAGES * PAGE_BYTES);
        let kept = resident_kib().saturating_sub(before);
        assert!(kept < KEPT_KIB_MAX, "{kept} KiB of {} stay in memory", read / 1_024);
    }

    #[test]
    fn pages_are_as_long_as_what_comes_to_them() {
        let pages = pages();
        let lengths = || pages.tree.iter().values().map(|page| page.unwrap().len()).collect::<Vec<_>>();
        let in_order = (0..2_000_u16).map(|number| (number.to_be_bytes().repeat(8), 1));
        note(&pages, &in_order.collect());
        assert!(lengths().iter().all(|length| 3 * 1_024 < *length), "many at once: {:?}", lengths());
        (0..2_000_u16).for_each(|number| note(&pages, &[([&number.to_be_bytes()[..], b"alone"].concat(), 1)].into()));
        assert!(lengths().iter().all(|length| *length <= PAGE_BYTES_MIN + 30), "one by one: {:?}", lengths());
    }
}
