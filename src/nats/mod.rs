//! The broker's side of hapax: how commands come in from NATS JetStream and how answers go out.
//!
//! A client publishes a command; the server stores it in the stream `COMMANDS` and chooses its partition from the key.
//! Each partition has one durable consumer, from which one processor pulls. Nothing here is a promise: the stream is a
//! queue that may lose what it holds, and only a reply is certain. So the settings of streams and consumers matter more
//! than their content: [`provision`] makes them once and refuses to run on others.
//!
//! Nothing here knows what a command means, and nothing here knows the processor.

pub mod connect;
pub mod context;
pub mod program;
pub mod provision;
pub mod stored;
mod place;
pub mod stranded;
pub mod quarantine;
mod sweep;
pub mod suspects;
pub mod message;
pub mod deliver;
pub mod sender;
pub mod feed;

pub use connect::{ConnectError, ConnectOptions, Credentials, connect};
