//! The feed: the store of a partition as the stream `EVENTS_<p>`, for everybody who reads events.
//!
//! Each durable commit is one message, in order, and the number of the message in its stream is the commit's position. For
//! that each sheaf of commits says what must be the last before it (`Nats-Expected-Last-Sequence`), and the server stores
//! all of it or nothing: a commit can neither be lost in the middle, nor come twice, nor change places, whatever is sent
//! again and whoever else sends. Where the feed stands is the stream's own last number, so there is nothing to be
//! remembered here.
//!
//! A message's body is the commit's JSON as it lies in the store, and its header `Hapax-Chain-Hash` is the chain up to it: a
//! reader checks both with SHA-256 alone. An atomic batch is never divided between two sheaves, so that the stream has all of
//! its commits or none.
//!
//! * [`feeder`]: what to publish next, and what an answer means: without I/O
//! * [`publish`]: the stream as whoever feeds it sees it
//! * [`reader`]: the stream as everybody else does

use async_nats::HeaderMap;

use crate::model::{ChainHash, header};

pub mod feeder;
pub mod publish;
pub mod reader;
#[cfg(test)]
mod tests;

pub use feeder::{Answer, Estranged, Feeder, Next, Stand};
pub use publish::{Publisher, is_missing, stand};
pub use reader::{FeedError, FeedReader};

/// The chain hash that a message names.
fn chain_hash(headers: &HeaderMap) -> Option<ChainHash> {
    headers.get(header::CHAIN_HASH)?.as_str().parse().ok()
}
