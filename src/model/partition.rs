//! Which partition does a key live in? The server chooses, by the stream's subject transform; this is the same choice, for
//! everybody who must know it without asking.

use super::subject::Key;

/// One partition of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionNumber {
    /// Its number, from 0.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

impl PartitionNumber {
    /// Whether a key lives here.
    pub fn owns(self, key: &Key) -> bool {
        self.of == 1 || partition_of(key, self.of) == self.number
    }
}

/// The partition of a key, from 0: FNV-1a (32 bits) of the key, modulo the number of partitions. This is what nats-server
/// computes for `{{partition(P,3)}}`; changing it would send a key's commands to another store.
///
/// # Panics
/// If there are no partitions.
pub fn partition_of(key: &Key, partitions: u32) -> u32 {
    assert!(partitions > 0, "there is at least one partition");
    let hash =
        key.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % partitions
}
