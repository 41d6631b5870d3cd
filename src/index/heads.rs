//! Where an aggregate stands: the tree `heads`, (type, key) -> version and position of the last commit that changed it.

use super::pages::Pages;
use super::{Entry, Head, IndexError};
use crate::model::{AggregateId, AggregateType, Key, Position, Version};

const TREE: &str = "heads";
const MALFORMED: IndexError = IndexError::Entry { tree: TREE };

/// Version, position.
const HEAD_BYTES: usize = 8 + 8;

pub(super) struct Heads(Pages<HEAD_BYTES>);

impl Heads {
    pub(super) fn open(db: &sled::Db) -> Result<Heads, IndexError> {
        Ok(Heads(Pages::open(db, TREE)?))
    }

    pub(super) fn is_empty(&self) -> Result<bool, IndexError> {
        self.0.is_empty()
    }

    pub(super) fn get(&self, aggregate: &AggregateId) -> Result<Option<Head>, IndexError> {
        self.0.get(&aggregate_key(aggregate))?.map(decode).transpose()
    }

    /// Notes where aggregates stand. Called by one thread at a time; a reader may see some aggregates already moved on.
    pub(super) fn note(&self, entries: &[Entry]) -> Result<(), IndexError> {
        let changed = entries.iter().filter_map(|entry| {
            let head = Head { version: entry.changed_to?, position: entry.position };
            Some((aggregate_key(&entry.aggregate), (&entry.aggregate, head)))
        });
        let mut sorted: Vec<_> = changed.collect();
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other)); // Stable: the last one of an aggregate is the last.
        self.0.note(&sorted, |(aggregate, head), old| {
            let old = old.map(decode).transpose()?;
            Ok(encode(if head.replaces(old.as_ref(), aggregate)? { *head } else { old.unwrap_or(*head) }))
        })
    }

    /// The versions of all heads, added up. Reads the whole tree.
    pub(super) fn sum(&self) -> Result<u64, IndexError> {
        let mut sum = 0_u64;
        for page in self.0.pages(&[], None) {
            for entry in page?.entries() {
                sum = sum.checked_add(decode(entry?.1)?.version.0).ok_or(MALFORMED)?;
            }
        }
        Ok(sum)
    }

    /// All heads, until the first error.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<(AggregateId, Head), IndexError>> {
        self.0.pages(&[], None).flat_map(|page| match page {
            Ok(page) => page
                .entries()
                .map(|entry| entry.and_then(|(key, head)| Ok((decode_key(key)?, decode(head)?))))
                .collect(),
            Err(error) => vec![Err(error)],
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

fn encode(head: Head) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    bytes[..8].copy_from_slice(&head.version.0.to_be_bytes());
    bytes[8..].copy_from_slice(&head.position.get().to_be_bytes());
    bytes
}

fn decode(bytes: [u8; HEAD_BYTES]) -> Result<Head, IndexError> {
    let (version, position) = bytes.split_at(8);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let (version, position) = (number(version), number(position));
    let position = Position::new(position).ok_or(MALFORMED)?;
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
        assert_eq!(decode(encode(head)).unwrap(), head);
    }

    #[test]
    fn another_form_is_an_error() {
        assert!(decode([1; 16]).is_ok());
        assert!(decode((1_u128 << 64).to_be_bytes()).is_err(), "position 0");
        assert!(decode(1_u128.to_be_bytes()).is_err(), "version 0");
        assert!(decode_key(b"account42").is_err());
        assert!(decode_key(b"account\0").is_err());
    }
}
