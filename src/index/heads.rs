//! Where an aggregate stands: the tree `heads`, (type, key) -> version and position of the last commit that changed it.

use std::collections::HashMap;

use super::sled_index::guarded;
use super::{Entry, Head, IndexError};
use crate::model::{AggregateId, AggregateType, Key, Position, Version};

const TREE: &str = "heads";
const MALFORMED: IndexError = IndexError::Entry { tree: TREE };

pub(super) struct Heads(sled::Tree);

impl Heads {
    pub(super) fn open(db: &sled::Db) -> Result<Heads, IndexError> {
        guarded(|| Ok(Heads(db.open_tree(TREE)?)))
    }

    pub(super) fn is_empty(&self) -> Result<bool, IndexError> {
        guarded(|| Ok(self.0.iter().next().transpose()?.is_none()))
    }

    pub(super) fn get(&self, aggregate: &AggregateId) -> Result<Option<Head>, IndexError> {
        self.at(&aggregate_key(aggregate))
    }

    fn at(&self, key: &[u8]) -> Result<Option<Head>, IndexError> {
        guarded(|| self.0.get(key)?.as_deref().map(decode).transpose())
    }

    /// Notes where aggregates stand. Called by one thread at a time; a reader may see some aggregates already moved on.
    pub(super) fn note(&self, entries: &[Entry]) -> Result<(), IndexError> {
        let mut last: HashMap<&AggregateId, Head> = HashMap::new();
        for entry in entries {
            if let Some(version) = entry.changed_to {
                last.insert(&entry.aggregate, Head { version, position: entry.position });
            }
        }
        let mut sorted: Vec<(Vec<u8>, &AggregateId, Head)> =
            last.into_iter().map(|(aggregate, head)| (aggregate_key(aggregate), aggregate, head)).collect();
        sorted.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        for (key, aggregate, head) in sorted {
            if head.replaces(self.at(&key)?.as_ref(), aggregate)? {
                guarded(|| Ok(self.0.insert(key, &encode(head)[..])?))?;
            }
        }
        Ok(())
    }

    /// The versions of all heads, added up. Reads the whole tree.
    pub(super) fn sum(&self) -> Result<u64, IndexError> {
        guarded(|| {
            self.0
                .iter()
                .values()
                .try_fold(0_u64, |sum, value| sum.checked_add(decode(&value?)?.version.0).ok_or(MALFORMED))
        })
    }

    /// All heads, until the first error.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<(AggregateId, Head), IndexError>> {
        let mut pairs = self.0.iter();
        std::iter::from_fn(move || {
            guarded(|| Ok(pairs.next().transpose()?))
                .and_then(|pair| pair.map(|(key, value)| Ok((decode_key(&key)?, decode(&value)?))).transpose())
                .transpose()
        })
    }
}

impl Head {
    /// Whether this head goes in the place of `old`. Notes are repeated after a crash, so an older one is no error.
    pub(super) fn replaces(&self, old: Option<&Head>, aggregate: &AggregateId) -> Result<bool, IndexError> {
        let Some(old) = old else { return Ok(true) };
        if self.position.cmp(&old.position) != self.version.cmp(&old.version) {
            return Err(IndexError::Disagrees(format!(
                "{aggregate} had version {} at position {}, and {} at {}",
                old.version, old.position, self.version, self.position
            )));
        }
        Ok(old.position < self.position)
    }
}

/// No token contains a zero byte.
pub(super) fn aggregate_key(aggregate: &AggregateId) -> Vec<u8> {
    [aggregate.kind.as_str().as_bytes(), &[0], aggregate.key.as_str().as_bytes()].concat()
}

fn decode_key(bytes: &[u8]) -> Result<AggregateId, IndexError> {
    let (kind, key) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('\0')).ok_or(MALFORMED)?;
    let kind = AggregateType::parse(kind).map_err(|_| MALFORMED)?;
    Ok(AggregateId { kind, key: Key::parse(key).map_err(|_| MALFORMED)? })
}

fn encode(head: Head) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&head.version.0.to_be_bytes());
    bytes[8..].copy_from_slice(&head.position.get().to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<Head, IndexError> {
    let (version, position) = bytes.split_first_chunk::<8>().ok_or(MALFORMED)?;
    let version = u64::from_be_bytes(*version);
    let position = Position::new(u64::from_be_bytes(position.try_into().map_err(|_| MALFORMED)?)).ok_or(MALFORMED)?;
    if version == 0 {
        return Err(MALFORMED); // An aggregate without events has no head.
    }
    Ok(Head { version: Version(version), position })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_heads_are_read_as_they_were_written() {
        let aggregate: AggregateId = "account/42".parse().unwrap();
        assert_eq!(decode_key(&aggregate_key(&aggregate)).unwrap(), aggregate);
        let head = Head { version: Version(3), position: Position::new(1 << 40).unwrap() };
        assert_eq!(decode(&encode(head)).unwrap(), head);
    }

    #[test]
    fn another_form_is_an_error() {
        assert!(decode(&[1; 15]).is_err());
        assert!(decode(&[1; 17]).is_err());
        assert!(decode(&[[0; 8], [1; 8]].concat()).is_err(), "version 0");
        assert!(decode(&[[1; 8], [0; 8]].concat()).is_err(), "position 0");
        assert!(decode_key(b"account42").is_err());
        assert!(decode_key(b"account\0").is_err());
    }
}
