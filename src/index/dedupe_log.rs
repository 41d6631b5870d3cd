//! Which commit recorded a command: the tree `commands`, (id, principal, key) -> position.

use uuid::Uuid;

use super::sled_index::guarded;
use super::{Entry, IndexError};
use crate::model::{Identity, Position};

const TREE: &str = "commands";

/// What the first byte of a key says about the id behind it.
const UUID: u8 = 1;
const TEXT: u8 = 2;

/// The dedupe log. An identity keeps the position that was noted for it first (I1).
pub(super) struct DedupeLog(sled::Tree);

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
}

impl DedupeLog {
    pub(super) fn open(db: &sled::Db) -> Result<DedupeLog, IndexError> {
        guarded(|| Ok(DedupeLog(db.open_tree(TREE)?)))
    }

    pub(super) fn is_empty(&self) -> Result<bool, IndexError> {
        guarded(|| Ok(self.0.iter().next().transpose()?.is_none()))
    }

    pub(super) fn position_of(&self, identity: &Identity) -> Result<Option<Position>, IndexError> {
        guarded(|| self.0.get(command_key(identity))?.as_deref().map(decode).transpose())
    }

    pub(super) fn note(&self, entries: &[Entry]) -> Result<(), IndexError> {
        let mut sorted: Vec<(Vec<u8>, &Entry)> =
            entries.iter().map(|entry| (command_key(&entry.identity), entry)).collect();
        // In the order of their keys: sled then works on one page after the other.
        sorted.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        sorted.iter().try_for_each(|(key, entry)| self.note_first(key, entry))
    }

    /// Notes a position where none is. One walk through the tree, as `insert` is, and it never overwrites.
    fn note_first(&self, key: &[u8], entry: &Entry) -> Result<(), IndexError> {
        let position = entry.position;
        let swapped =
            guarded(|| Ok(self.0.compare_and_swap(key, None::<&[u8]>, Some(&position.get().to_be_bytes()[..]))?))?;
        let Err(found) = swapped else { return Ok(()) };
        let first = decode(&found.current.expect("the swap fails only if something is there"))?;
        if first == position { Ok(()) } else { Err(IndexError::second_commit(&entry.identity, first, position)) }
    }

    /// Reads the whole log, in two halves at once: it is most of what a start takes.
    pub(super) fn sum(&self) -> Result<PositionSum, IndexError> {
        let middle = self.middle()?;
        std::thread::scope(|scope| {
            let lower = scope.spawn(|| self.sum_of(self.0.range(..middle)));
            let upper = self.sum_of(self.0.range(middle..))?;
            let lower = lower.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(PositionSum { count: lower.count + upper.count, sum: lower.sum + upper.sum })
        })
    }

    fn sum_of(&self, entries: sled::Iter) -> Result<PositionSum, IndexError> {
        guarded(|| {
            entries.values().try_fold(PositionSum::default(), |all, value| {
                let position = decode(&value?)?;
                Ok(PositionSum { count: all.count + 1, sum: all.sum + u128::from(position.get()) })
            })
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

/// The id comes first, so that commands with ids of UUID version 7 lie in the order of their time: new ones all go to
/// the same few pages, which is twice as fast. A UUID is packed; it is the usual id, and its text is 20 bytes longer.
/// No token and no id contains a zero byte.
fn command_key(identity: &Identity) -> Vec<u8> {
    let Identity { principal, key, id } = identity;
    let mut bytes = Vec::with_capacity(2 + id.as_str().len() + principal.as_str().len() + 1 + key.as_str().len());
    match hyphenated(id.as_str()) {
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

/// The UUID that has exactly this text. Ids are texts: upper case or without hyphens is another id.
fn hyphenated(text: &str) -> Option<Uuid> {
    if text.len() != uuid::fmt::Hyphenated::LENGTH {
        return None;
    }
    let uuid = Uuid::try_parse(text).ok()?;
    (&*uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text).then_some(uuid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{CommandId, Key, Principal};

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

    proptest! {
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
        let lower = Uuid::from_u128(0xab << 100).hyphenated().to_string();
        assert!(hyphenated(&lower).is_some());
        assert!(hyphenated(&lower.to_uppercase()).is_none());
        assert!(hyphenated(&lower.replace('-', "")).is_none());
    }

    #[test]
    fn a_value_of_another_form_is_an_error() {
        assert!(decode(&[0; 8]).is_err());
        assert!(decode(&[1; 7]).is_err());
        assert!(decode(&[1; 8]).is_ok());
    }
}
