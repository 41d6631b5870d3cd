//! What cannot be seen from outside: frames and the proof, byte for byte. Everything else is tested over the public seam,
//! in `tests/stores_file.rs`.

use proptest::prelude::*;

use uuid::Uuid;

use super::frame::{self, FrameError, HEAD_BYTES, MARKER};
use super::proof;
use crate::model::{ChainHash, Position};
use crate::store::StoreId;

fn frame_of(synced: u64, hash: u8, json: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, Position::new(synced), &ChainHash([hash; 32]), json, false);
    bytes
}

/// The format is for ever: these bytes must be read by every later version.
#[test]
fn a_frame_is_these_bytes() {
    let bytes = frame_of(0x0102, 0xAB, b"{}");
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        text,
        format!("ffface00{}{}{}{}{}", "02000000", "bc98e74d", "0201000000000000", "ab".repeat(32), "7b7d")
    );
}

/// One that a later version cannot read proves nothing to it, and a tail that is lost in between is not noticed.
#[test]
fn a_proof_is_these_bytes() {
    let id = StoreId { store: Uuid::from_u128(0xAB), partition: 1, partitions: 2 };
    let bytes = proof::encode(id, Position::new(0x0102).unwrap());
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let store = format!("{}ab", "00".repeat(15));
    assert_eq!(text, format!("{}0100000002000000{store}{}{}", "6861706178707266", "0201000000000000", "e476e7cb"));
}

#[test]
fn the_end_may_be_anywhere_in_a_frame() {
    let bytes = frame_of(1, 2, b"{\"a\":1}");
    for length in 0..bytes.len() {
        assert_eq!(frame::decode(&bytes[..length]), Err(FrameError::Short), "{length}");
    }
}

#[test]
fn a_flag_of_a_later_format_is_not_skipped() {
    let mut bytes = frame_of(1, 2, b"{}");
    bytes[MARKER.len()] = 2;
    assert_eq!(frame::decode(&bytes), Err(FrameError::Checksum), "the checksum covers the flags");
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[3..8]);
    hasher.update(&bytes[12..]);
    bytes[8..12].copy_from_slice(&hasher.finalize().to_le_bytes());
    assert_eq!(frame::decode(&bytes), Err(FrameError::Flags));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        synced: u64,
        hash: u8,
        json in proptest::collection::vec(any::<u8>(), 0..300),
        behind in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut bytes = frame_of(synced, hash, &json);
        prop_assert_eq!(frame::bytes_needed(&bytes), bytes.len());
        bytes.extend(behind);
        let frame = frame::decode(&bytes).unwrap();
        prop_assert_eq!(frame.synced, Position::new(synced));
        prop_assert_eq!(frame.hash, ChainHash([hash; 32]));
        prop_assert_eq!(frame.json, &json[..]);
        prop_assert_eq!(frame.bytes(), HEAD_BYTES + json.len());
    }

    #[test]
    fn any_changed_bit_is_seen(
        json in proptest::collection::vec(any::<u8>(), 0..300),
        bit in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = frame_of(7, 9, &json);
        let bit = bit.index(8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(frame::decode(&bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_no_reason_to_panic(
        marked: bool,
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let start: &[u8] = if marked { &MARKER } else { &[] };
        let bytes = [start, &bytes].concat();
        let _ = frame::bytes_needed(&bytes);
        if let Ok(frame) = frame::decode(&bytes) {
            prop_assert!(frame.bytes() <= bytes.len());
        }
    }
}
