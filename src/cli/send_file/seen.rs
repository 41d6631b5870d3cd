//! Has a line before used this id? For the same command that is harmless. For another one the processor would refuse
//! whichever it meets second, and only who wrote the file knows which of the two lines is meant.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use sha2::{Digest, Sha256};

use crate::client::RawCommand;
use crate::model::json;

/// All identities of a file, with 32 bytes for each line: a file may have millions.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<[u8; 16], First>);

/// The line that came first with an identity.
#[derive(Debug)]
struct First {
    line: u64,
    /// If two contents share it, the second is sent, and refused by the processor.
    content: u64,
}

impl Seen {
    /// The line before this one that means another command by the same id.
    pub(super) fn other(&mut self, line: u64, command: &RawCommand) -> Option<u64> {
        let content = content(command);
        let first = self.0.entry(identity(command)).or_insert(First { line, content });
        (first.content != content).then_some(first.line)
    }
}

/// Half of a SHA-256, so that no two of them meet by accident. A key has no dot.
fn identity(command: &RawCommand) -> [u8; 16] {
    let hash = Sha256::new().chain_update(command.aggregate.key.as_str()).chain_update(".");
    let hash: [u8; 32] = hash.chain_update(command.id.as_str()).finalize().into();
    *hash.first_chunk().expect("32 bytes have a half")
}

fn content(command: &RawCommand) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&command.aggregate.kind, &command.name, command.expected).hash(&mut hasher);
    json::hash_value(&command.data, &mut hasher);
    hasher.finish()
}
