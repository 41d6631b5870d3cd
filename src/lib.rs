//! **hapax**: an event-sourced command processor on NATS JetStream. A command that carries an id is decided at most once,
//! for ever, not for a window: whoever sends it again, however late and after whichever crash, gets the first outcome
//! back, byte for byte, and nothing happens twice. No outcome is sent before it is on disk.
//!
//! This page is the architecture and what the code cites: words, way, invariants. The wire contract (subjects, headers,
//! replies, what to retry), operations and figures are in `README.md`.
//!
//! ```no_run
//! use hapax::client::{Client, Outcome};
//! use hapax::samples::{Account, AccountCommand::Deposit};
//! use hapax::{Aggregate, Principal};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let nats = async_nats::connect("nats://127.0.0.1:4222").await?;
//! let client = Client::new(nats, Principal::parse("alice")?).await?;
//! match client.send(Account::at("42"), Deposit { amount: 100 }).await? {
//!     Outcome::Accepted { version, events, .. } => println!("version {version}: {events:?}"),
//!     Outcome::Rejected { reason, .. } => println!("no: {reason:?}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Words
//! | word | meaning |
//! |---|---|
//! | [`Aggregate`] | a domain type: state, `decide(state, command) -> events or rejection`, `evolve(state, event)` |
//! | [`Service`] | the aggregates that one processor serves; the same value runs in production and in tests |
//! | [`Command`] | an intention addressed to one aggregate (`account/42`), with an id chosen by the sender |
//! | event | a fact that `decide` returned; [`RecordedEvent`] as it is recorded |
//! | [`Version`] | number of events that an aggregate has had (0: it does not exist) |
//! | [`Outcome`] | what was decided: accepted with events, or rejected with a reason. Recorded, final |
//! | [`Refusal`] | the processor would not decide (malformed, unavailable, id reused …). Nothing is recorded |
//! | [`Commit`] | the one record of a command: who, what, outcome, events, version, time, previous commit of its aggregate |
//! | [`Position`] | dense number of a commit in its partition: 1, 2, 3 … |
//! | [`store::EventStore`] | the append-only sequence of the commits of one partition. The only truth |
//! | statement | a frame of the journal that says only how far all before it is durable, when nothing follows soon |
//! | proof | the same, said after each fsync in a file outside the journal's segments, so that a cut tail is missed |
//! | dedupe log | sled: (principal, key, id) → position. Checked for every command; rebuildable from the store |
//! | [`Snapshot`] | state of an aggregate at a version, in sled; a cache |
//! | [`index::Checkpoint`] | the position up to which sled is known to be durable |
//! | [`Principal`] | who sent the command: a subject token that NATS permissions bind to the authenticated user |
//! | feed | the copy of the store as a JetStream stream, for everybody who reads events |
//! | [`Projection`](projection::Projection) | a read model folded from the feed; never the truth |
//! | sheaf | commits that go into the feed by one publish: all of them, or none ([`nats::feed`]) |
//! | batch | commands that are sent as one message: atomic, or each for itself ([`model::batch`]) |
//! | group | the commit of an atomic batch and those of its commands, which the store has as a whole ([`model::groups`]) |
//! | turn | the messages that are taken in at once and decided one after the other, behind one look-up |
//! | suspect | a command that a process had in hand, and no other of its partition, when it died ([`nats::suspects`]); after several it is quarantined |
//! | partition | unit of order and of scale: one command filter, one store, one sled, one writer |
//! | point | [`At`]: a version, a position, a time, or now. Where one of them is taken, each is |
//! | replay | [`replay`]: reading a store back, commit by commit. An outcome is *replayed* if a later copy of its command gets it |
//! | history | [`replay::history`]: all commits of a store, from the first on, as an export holds them; told as a text |
//! | story | `testing::Story`: what is sent to a service in a test, what comes of it, and what that changes |
//!
//! # One command's way
//! ```text
//! NATS ─► intake ─► dedupe ─► guard ─► append ─► index ─► reply ─► ack
//!         parse,    known     load     one       sled,    outcome  after
//!         limits,   id? reply aggregate commit,  lazily   to the   the
//!         principal the first version, group              inbox    reply
//!                   outcome   decide   fdatasync
//! ```
//! Each stage is a file of [`processor`], which is a value: input in, effects out, without I/O, clock or threads.
//! [`serve`] joins it with the broker, the store and the index in one loop, which has a thread of its own for each
//! partition. From the bottom up: [`model`] (the words as values), [`aggregate`] (what a domain author writes),
//! [`store`] (the truth), [`processor`] (the way), [`index`] (sled), [`nats`] (the broker), [`serve`] (a running
//! processor), [`client`], [`replay`] (reading back), [`projection`] (read models over the feed), `cli`, and on top
//! `testing` (what an author's tests say, with the feature of that name). Who may use whom is the table in
//! `tests/tidy.rs`.
//!
//! 1. **intake** drains what is there. Size, header and grammar limits come before parsing.
//! 2. **dedupe** comes before every guard: a retry gets its first outcome even when state, rights or code have moved on.
//!    Look-ups that memory cannot answer are one `Load` per batch; memory wins over what it finds.
//! 3. **guard**: time limit, expected version, then `decide`. The time of a decision is an input and is recorded, so the
//!    same store prefix, command and time give the same outcome.
//! 4. **append**: accepted and rejected outcomes alike become one commit each; all of a batch go down with one
//!    `fdatasync`. Meanwhile the next batch is decided on the speculative state; a lone commit is written on the spot,
//!    since nothing is to be done meanwhile. A failed write or fsync ends the process.
//! 5. **index**: in memory at once, in sled lazily, never on the reply path.
//! 6. **reply**, then 7. **ack**. Every reply, a refusal or replay too, waits until the position is durable that it was
//!    computed from. A crash anywhere before means redelivery, which dedupe turns into a no-op with the same reply.
//!
//! # Invariants
//! * **I1** at most one commit per identity (principal, key, id), for ever
//! * **I2** all outcomes sent for one identity are the same bytes
//! * **I3** what was replied is in the store, after any crash
//! * **I4** another content under a known identity changes nothing
//! * **I5** versions per aggregate without gap or double
//! * **I6** a commit is whole or absent
//! * **I7** no commit that nobody sent
//! * **I8** a rejection has no events
//! * **I9** no decision after a failed look-up
//! * **I10** fold(store) = live state = snapshot + tail, and re-deciding the store with the same code gives the same outcomes
//! * **I11** the hash chain holds
//! * **I12** sled agrees with the store up to its checkpoint
//! * **I13** real-time order per aggregate
//! * **I14** conservation in the sample domain: money is neither made nor lost
//! * **I15** a fenced writer adds nothing (files: one writer by lock; the fence comes with JetStream as the store)
//! * **I16** acked by the consumer ⇒ in the store, or refused, or quarantined
//! * **I17** no reply or query shows one principal another's outcome
//! * **I18** feed = store, sequence by sequence

#![warn(missing_docs, unreachable_pub, clippy::unwrap_used)]

pub mod model;
pub mod aggregate;
pub mod store;
pub mod processor;
pub mod index;
pub mod nats;
pub mod serve;
pub mod replay;
pub mod projection;
pub mod client;
#[cfg(feature = "cli")]
pub mod cli;
pub mod samples;
#[cfg(feature = "cli")]
pub mod bench;
#[cfg(feature = "testing")]
pub mod testing;

pub use aggregate::{Address, Aggregate, Context, EventError, Service, Upcaster};
pub use model::*;

/// The Rust code in the README is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
