//! Which commit recorded a command: the tree `commands`, (id, principal, key) -> position.
//!
//! Ids of UUID version 7 begin with their millisecond, and those of one millisecond share one entry, a bucket: a walk
//! through the tree costs more than all else that is done for an id. When a bucket is full, further ids of its millisecond
//! have entries of their own, as all other ids have.

use super::sled_index::guarded;
use super::{Entry, IndexError};
use crate::model::{Identity, Newest, Position};

const TREE: &str = "commands";

/// What the first byte of a key says about the id behind it.
const UUID: u8 = 1;
const TEXT: u8 = 2;

/// Bytes of a bucket's key: what a UUID is marked with, and the 48 bits of its millisecond (RFC 9562, 5.7).
const BUCKET_KEY_BYTES: usize = 7;

/// A bucket of so many bytes takes no further id. Larger values make sled slow: it rewrites a page with all of them.
const BUCKET_FULL_BYTES: usize = 4 * 1024;

const POSITION_BYTES: usize = size_of::<u64>();

/// The dedupe log. An identity keeps the position that was noted for it first (I1).
pub(super) struct DedupeLog(sled::Tree);

/// What the whole log holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) positions: PositionSum,
    pub(super) newest: Newest,
}

/// All positions of the log, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PositionSum {
    pub(super) count: u64,
    pub(super) sum: u128,
}

impl PositionSum {
    /// What positions 1 to `last` add up to.
    pub(super) fn upto(last: u64) -> PositionSum {
        PositionSum { count: last, sum: u128::from(last) * (u128::from(last) + 1) / 2 }
    }

    fn add(&mut self, position: Position) {
        self.count += 1;
        self.sum += u128::from(position.get());
    }
}

impl DedupeLog {
    pub(super) fn open(db: &sled::Db) -> Result<DedupeLog, IndexError> {
        guarded(|| Ok(DedupeLog(db.open_tree(TREE)?)))
    }

    pub(super) fn is_empty(&self) -> Result<bool, IndexError> {
        guarded(|| Ok(self.0.iter().next().transpose()?.is_none()))
    }

    pub(super) fn position_of(&self, identity: &Identity) -> Result<Option<Position>, IndexError> {
        let key = command_key(identity);
        if let Some(bucket_key) = bucket_key(&key) {
            let Some(bucket) = guarded(|| Ok(self.0.get(bucket_key)?))? else { return Ok(None) };
            let found = position_in(&bucket, &key[BUCKET_KEY_BYTES..])?;
            if found.is_some() || bucket.len() < BUCKET_FULL_BYTES {
                return Ok(found);
            }
        }
        guarded(|| self.0.get(key)?.as_deref().map(decode).transpose())
    }

    /// Called by one thread at a time.
    pub(super) fn note(&self, entries: &[Entry]) -> Result<(), IndexError> {
        let mut sorted: Vec<(Vec<u8>, &Entry)> =
            entries.iter().map(|entry| (command_key(&entry.identity), entry)).collect();
        // In the order of their keys: those of one bucket together, and sled works on one page after the other.
        sorted.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let are_together = |one: &[u8], other: &[u8]| bucket_key(one).is_some() && bucket_key(one) == bucket_key(other);
        for together in sorted.chunk_by(|(one, _), (other, _)| are_together(one, other)) {
            match bucket_key(&together[0].0) {
                Some(bucket_key) => self.note_in_bucket(bucket_key, together)?,
                None => together.iter().try_for_each(|(key, entry)| self.note_alone(key, entry))?,
            }
        }
        Ok(())
    }

    /// Notes the ids of one millisecond.
    fn note_in_bucket(&self, bucket_key: &[u8], entries: &[(Vec<u8>, &Entry)]) -> Result<(), IndexError> {
        let mut bucket = guarded(|| Ok(self.0.get(bucket_key)?))?.map_or_else(Vec::new, |bucket| bucket.to_vec());
        let length = bucket.len();
        let mut alone = Vec::new();
        for (key, entry) in entries {
            let rest = &key[BUCKET_KEY_BYTES..];
            match position_in(&bucket, rest)? {
                Some(first) => same_position(entry, first)?,
                None if bucket.len() < BUCKET_FULL_BYTES => put_in(&mut bucket, rest, entry.position),
                None => alone.push((key, entry)),
            }
        }
        if length < bucket.len() {
            guarded(|| Ok(self.0.insert(bucket_key, bucket)?))?;
        }
        // Only now: they are looked for where the bucket is full.
        alone.into_iter().try_for_each(|(key, entry)| self.note_alone(key, entry))
    }

    /// Notes a position where none is. One walk through the tree, as `insert` is, and it never overwrites.
    fn note_alone(&self, key: &[u8], entry: &Entry) -> Result<(), IndexError> {
        let position = entry.position.get().to_be_bytes();
        let swapped = guarded(|| Ok(self.0.compare_and_swap(key, None::<&[u8]>, Some(&position[..]))?))?;
        let Err(found) = swapped else { return Ok(()) };
        same_position(entry, decode(&found.current.expect("the swap fails only if something is there"))?)
    }

    /// Reads the whole log, in two halves at once: it is most of what a start takes.
    pub(super) fn sum(&self) -> Result<Sum, IndexError> {
        let middle = self.middle()?;
        std::thread::scope(|scope| {
            let lower = scope.spawn(|| self.sum_of(self.0.range(..middle)));
            let upper = self.sum_of(self.0.range(middle..))?;
            let lower = lower.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let (one, other) = (lower.positions, upper.positions);
            let positions = PositionSum { count: one.count + other.count, sum: one.sum + other.sum };
            Ok(Sum { positions, newest: lower.newest.max(upper.newest) })
        })
    }

    fn sum_of(&self, entries: sled::Iter) -> Result<Sum, IndexError> {
        guarded(|| {
            let mut all = Sum::default();
            for entry in entries {
                let (key, value) = entry?;
                all.newest = all.newest.max(newest_in(&key));
                if key.len() == BUCKET_KEY_BYTES && key[0] == UUID {
                    for noted in in_bucket(&value) {
                        let (rest, position) = noted?;
                        if !begins_with_version_7(rest) {
                            return Err(IndexError::Entry { tree: TREE }); // Nobody would look for it here.
                        }
                        all.positions.add(position);
                    }
                } else {
                    all.positions.add(decode(&value)?);
                }
            }
            Ok(all)
        })
    }

    /// A key with about as many below as above, if most ids are UUIDs and spread evenly, as those in the order of time are.
    fn middle(&self) -> Result<[u8; 16], IndexError> {
        let number = |key: &[u8]| {
            let mut bytes = [0; 16];
            let length = key.len().min(bytes.len());
            bytes[..length].copy_from_slice(&key[..length]);
            u128::from_be_bytes(bytes)
        };
        let ends = guarded(|| Ok((self.0.first()?, self.0.range(..[TEXT]).next_back().transpose()?)))?;
        let (Some((first, _)), Some((last, _))) = ends else { return Ok([0; 16]) };
        let (first, last) = (number(&first), number(&last));
        // A damaged tree may have any order; then the halves are uneven, and the sum tells.
        Ok((first + last.saturating_sub(first) / 2).to_be_bytes())
    }
}

fn decode(value: &[u8]) -> Result<Position, IndexError> {
    let bytes = value.try_into().map_err(|_| IndexError::Entry { tree: TREE })?;
    Position::new(u64::from_be_bytes(bytes)).ok_or(IndexError::Entry { tree: TREE })
}

/// Notes are repeated after a crash; a second commit of one command is another thing.
fn same_position(entry: &Entry, first: Position) -> Result<(), IndexError> {
    let second = entry.position;
    if first == second { Ok(()) } else { Err(IndexError::second_commit(&entry.identity, first, second)) }
}

/// What the keys of all ids of the same millisecond begin with; `None`: this one has an entry of its own.
fn bucket_key(key: &[u8]) -> Option<&[u8]> {
    let (bucket_key, rest) = key.split_at_checked(BUCKET_KEY_BYTES)?;
    (key[0] == UUID && begins_with_version_7(rest)).then_some(bucket_key)
}

/// Behind the millisecond comes the version.
fn begins_with_version_7(rest: &[u8]) -> bool {
    rest.first().is_some_and(|byte| byte >> 4 == 7)
}

/// The time of the ids of version 7 that a key stands for: of a bucket, or of an id with an entry of its own.
fn newest_in(key: &[u8]) -> Newest {
    let is_bucket = key.len() == BUCKET_KEY_BYTES && key[0] == UUID;
    let Some(bucket_key) = (if is_bucket { Some(key) } else { bucket_key(key) }) else { return Newest::default() };
    Newest::at(bucket_key[1..].iter().fold(0, |millisecond, byte| millisecond << 8 | u64::from(*byte)))
}

/// What a bucket holds, one behind the other: length of the rest of a key (two bytes), the rest, the position.
fn put_in(bucket: &mut Vec<u8>, rest: &[u8], position: Position) {
    let length = u16::try_from(rest.len()).expect("tokens are short");
    bucket.extend_from_slice(&length.to_be_bytes());
    bucket.extend_from_slice(rest);
    bucket.extend_from_slice(&position.get().to_be_bytes());
}

/// The rests of keys that a bucket holds, with their positions, until the first error.
fn in_bucket(mut bucket: &[u8]) -> impl Iterator<Item = Result<(&[u8], Position), IndexError>> {
    std::iter::from_fn(move || {
        if bucket.is_empty() {
            return None;
        }
        let next = || {
            let (length, behind) = bucket.split_first_chunk()?;
            let (rest, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let (position, behind) = behind.split_at_checked(POSITION_BYTES)?;
            Some((rest, position, behind))
        };
        let found = next().ok_or(IndexError::Entry { tree: TREE });
        let noted = found.and_then(|(rest, position, behind)| Ok((rest, decode(position)?, behind)));
        bucket = noted.as_ref().map_or(&[], |(.., behind)| behind);
        Some(noted.map(|(rest, position, _)| (rest, position)))
    })
}

fn position_in(bucket: &[u8], wanted: &[u8]) -> Result<Option<Position>, IndexError> {
    for noted in in_bucket(bucket) {
        let (rest, position) = noted?;
        if rest == wanted {
            return Ok(Some(position));
        }
    }
    Ok(None)
}

/// The id comes first, so that commands with ids of UUID version 7 lie in the order of their time: new ones all go to
/// the same few pages, which is twice as fast. A UUID is packed; it is the usual id, and its text is 20 bytes longer.
/// No token and no id contains a zero byte.
fn command_key(identity: &Identity) -> Vec<u8> {
    let Identity { principal, key, id } = identity;
    let mut bytes = Vec::with_capacity(2 + id.as_str().len() + principal.as_str().len() + 1 + key.as_str().len());
    match id.uuid() {
        Some(uuid) => {
            bytes.push(UUID);
            bytes.extend_from_slice(uuid.as_bytes());
        }
        None => {
            bytes.push(TEXT);
            bytes.extend_from_slice(id.as_str().as_bytes());
            bytes.push(0);
        }
    }
    bytes.extend_from_slice(principal.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(key.as_str().as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::collections::hash_map::Entry as MapEntry;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::model::{AggregateId, CommandId, Key, Principal};

    fn id() -> impl Strategy<Value = CommandId> {
        let uuid = any::<u128>().prop_map(|bits| Uuid::from_u128(bits).hyphenated().to_string());
        let text = prop_oneof![
            uuid.clone(),
            uuid.clone().prop_map(|text| text.to_uppercase()),
            uuid.prop_map(|text| text.replace('-', "")),
            "[a-b_-]{16,18}",
        ];
        text.prop_map(|text| CommandId::parse(&text).unwrap())
    }

    fn identity() -> impl Strategy<Value = Identity> {
        // Few and short, so that the border between two parts is what differs.
        (id(), "a{1,3}", "a{1,3}").prop_map(|(id, principal, key)| Identity {
            principal: Principal::parse(&principal).unwrap(),
            key: Key::parse(&key).unwrap(),
            id,
        })
    }

    /// Ids of a few milliseconds and of all versions.
    fn id_of_few_milliseconds() -> impl Strategy<Value = CommandId> {
        (0..3_u128, 0..16_u128, 0..400_u128)
            .prop_map(|(ms, version, rest)| Uuid::from_u128(ms << 80 | version << 76 | rest).into())
    }

    proptest! {
        #[test]
        fn what_is_noted_is_found_and_nothing_else_is(
            ids in proptest::collection::vec((id_of_few_milliseconds(), any::<bool>()), 1..600),
            chunk in 1..200_usize,
        ) {
            let db = sled::Config::new().temporary(true).open().unwrap();
            let log = DedupeLog::open(&db).unwrap();
            let aggregate: AggregateId = "account/1".parse().unwrap();
            let identity = |id: &CommandId| Identity { principal: Principal::parse("alice").unwrap(), key: aggregate.key.clone(), id: id.clone() };
            let mut noted: Vec<Entry> = Vec::new();
            let mut known = HashMap::new();
            for (id, _) in ids.iter().filter(|(_, is_noted)| *is_noted) {
                let position = Position::new(noted.len() as u64 + 1).unwrap();
                if let MapEntry::Vacant(vacant) = known.entry(id.clone()) {
                    vacant.insert(position);
                    noted.push(Entry { position, identity: identity(id), aggregate: aggregate.clone(), changed_to: None, event_count: 0, snapshot: None, commit_bytes: 0 });
                }
            }
            noted.chunks(chunk).for_each(|chunk| log.note(chunk).unwrap());
            for (id, _) in &ids {
                prop_assert_eq!(log.position_of(&identity(id)).unwrap(), known.get(id).copied());
            }
            let sum = log.sum().unwrap();
            prop_assert_eq!(sum.positions, PositionSum::upto(noted.len() as u64));
            let mut newest = Newest::default();
            known.keys().for_each(|id| newest.add(id));
            prop_assert_eq!(sum.newest, newest);
        }

        #[test]
        fn keys_are_equal_only_for_equal_identities(one in identity(), mut other in identity(), same_id in any::<bool>()) {
            if same_id {
                other.id = one.id.clone();
            }
            prop_assert_eq!(command_key(&one) == command_key(&other), one == other);
        }

        #[test]
        fn a_bucket_holds_what_was_put_in_it(rests: Vec<Vec<u8>>) {
            let mut bucket = Vec::new();
            let noted: Vec<(&[u8], Position)> =
                rests.iter().zip(1..).map(|(rest, number)| (&rest[..], Position::new(number).unwrap())).collect();
            noted.iter().for_each(|(rest, position)| put_in(&mut bucket, rest, *position));
            prop_assert_eq!(in_bucket(&bucket).collect::<Result<Vec<_>, _>>().unwrap(), noted);
        }

        #[test]
        fn a_bucket_of_another_form_ends_with_an_error(bytes: Vec<u8>) {
            let noted: Vec<_> = in_bucket(&bytes).collect();
            prop_assert!(noted.iter().rev().skip(1).all(Result::is_ok));
            let taken = |noted: &Result<(&[u8], Position), _>| noted.as_ref().map_or(0, |(rest, _)| 2 + rest.len() + 8);
            prop_assert!(noted.last().is_some_and(Result::is_err) || noted.iter().map(taken).sum::<usize>() == bytes.len());
        }

        #[test]
        fn keys_of_uuids_are_in_the_order_of_the_uuids(mut one in identity(), mut other in identity(), a: u128, b: u128) {
            one.id = Uuid::from_u128(a).into();
            other.id = Uuid::from_u128(b).into();
            prop_assume!(a != b);
            prop_assert_eq!(command_key(&one) < command_key(&other), a < b);
        }
    }

    #[test]
    fn another_spelling_of_a_uuid_is_another_id() {
        let uuid = |text: &str| CommandId::parse(text).unwrap().uuid();
        let lower = Uuid::from_u128(0xab << 100).hyphenated().to_string();
        assert!(uuid(&lower).is_some());
        assert!(uuid(&lower.to_uppercase()).is_none());
        assert!(uuid(&lower.replace('-', "")).is_none());
    }

    #[test]
    fn a_value_of_another_form_is_an_error() {
        assert!(decode(&[0; 8]).is_err());
        assert!(decode(&[1; 7]).is_err());
        assert!(decode(&[1; 8]).is_ok());
    }
}
