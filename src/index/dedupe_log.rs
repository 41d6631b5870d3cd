//! Which commit recorded a command: the tree `commands`, (id, principal, key) -> position.
//!
//! Ids of UUID version 7 begin with their millisecond: those that are new come together, in the order of time, and lie in
//! the same few pages. Others are anywhere.

use super::pages::{Page, Pages};
use super::{Entry, IndexError};
use crate::model::{Identity, Newest, Position};

const TREE: &str = "commands";

/// What the first byte of a key says about the id behind it.
const UUID: u8 = 1;
const TEXT: u8 = 2;

const POSITION_BYTES: usize = size_of::<u64>();

/// The dedupe log. An identity keeps the position that was noted for it first (I1).
pub(super) struct DedupeLog(Pages<POSITION_BYTES>);

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
        Ok(DedupeLog(Pages::open(db, TREE)?))
    }

    pub(super) fn is_empty(&self) -> Result<bool, IndexError> {
        self.0.is_empty()
    }

    pub(super) fn position_of(&self, identity: &Identity) -> Result<Option<Position>, IndexError> {
        self.0.get(&command_key(identity))?.map(decode).transpose()
    }

    /// Called by one thread at a time.
    pub(super) fn note(&self, entries: &[Entry]) -> Result<(), IndexError> {
        let mut sorted: Vec<(Vec<u8>, &Entry)> =
            entries.iter().map(|entry| (command_key(&entry.identity), entry)).collect();
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.0.note(&sorted, |entry, first| match first.map(decode).transpose()? {
            // Notes are repeated after a crash; a second commit of one command is another thing.
            Some(first) if first != entry.position => {
                Err(IndexError::second_commit(&entry.identity, first, entry.position))
            }
            _ => Ok(encode(entry.position)),
        })
    }

    /// Reads the whole log, in two halves at once: it is most of what a start takes. Counts what is found by those who
    /// look for it, and nothing else.
    pub(super) fn sum(&self) -> Result<Sum, IndexError> {
        let middle = self.middle()?;
        std::thread::scope(|scope| {
            let lower = scope.spawn(|| sum_of(self.0.pages(&[], Some(&middle))));
            let upper = sum_of(self.0.pages(&middle, None))?;
            let lower = lower.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let (one, other) = (lower.positions, upper.positions);
            let positions = PositionSum { count: one.count + other.count, sum: one.sum + other.sum };
            Ok(Sum { positions, newest: lower.newest.max(upper.newest) })
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
        let Some((first, last)) = self.0.span(&[TEXT])? else { return Ok([0; 16]) };
        let (first, last) = (number(&first), number(&last));
        // A damaged tree may have any order; then the halves are uneven, and the sum tells.
        Ok((first + last.saturating_sub(first) / 2).to_be_bytes())
    }
}

fn sum_of(pages: impl Iterator<Item = Result<Page<POSITION_BYTES>, IndexError>>) -> Result<Sum, IndexError> {
    let mut all = Sum::default();
    for page in pages {
        for entry in page?.entries() {
            let (key, position) = entry?;
            all.positions.add(decode(position)?);
            all.newest = all.newest.max(newest_in(key));
        }
    }
    Ok(all)
}

fn encode(position: Position) -> [u8; POSITION_BYTES] {
    position.get().to_be_bytes()
}

fn decode(bytes: [u8; POSITION_BYTES]) -> Result<Position, IndexError> {
    Position::new(u64::from_be_bytes(bytes)).ok_or(IndexError::Entry { tree: TREE })
}

/// The time of the id that a key begins with, if it is a UUID of version 7: 48 bits, and then the version (RFC 9562, 5.7).
fn newest_in(key: &[u8]) -> Newest {
    match key.first_chunk() {
        Some(&[UUID, a, b, c, d, e, f, version]) if version >> 4 == 7 => {
            Newest::at(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
        }
        _ => Newest::default(),
    }
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
    fn there_is_no_position_0() {
        assert!(matches!(decode([0; 8]), Err(IndexError::Entry { .. })));
        assert_eq!(decode(encode(Position::FIRST)).unwrap(), Position::FIRST);
    }
}
