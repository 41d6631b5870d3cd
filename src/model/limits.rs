//! Every bound of the wire contract and of what is held in memory, with its unit and its reason.

use std::time::Duration;

/// Bytes of one token of a subject (principal, aggregate, key, command). Long enough for any id that people use
/// (a UUID has 36), short enough that a subject of five tokens fits every server's control line (4 KiB).
pub const TOKEN_BYTES_MAX: usize = 128;

/// Shortest command id, in characters. Shorter ones collide by accident ("1", "order-7") and an id counts for ever.
pub const ID_CHARS_MIN: usize = 16;
/// Longest command id, in characters.
pub const ID_CHARS_MAX: usize = 64;

/// Bytes of a command's body. A quarter of the server's default `max_payload` (1 MiB), so that the commit, which holds
/// the body and the events that come of it, still fits a message.
pub const COMMAND_BYTES_MAX: usize = 256 * 1024;

/// Bytes of the body of a batch. Half of the server's default `max_payload`, so that its parts may be named in errors and
/// headers come on top.
pub const BATCH_BYTES_MAX: usize = 512 * 1024;
/// Items of a batch.
pub const BATCH_ITEMS_MAX: usize = 1_000;
/// Items of an atomic batch: it is recorded as a commit of its own and one for each command, and nats-server takes at most
/// 1,000 messages in one atomic publish.
pub const ATOMIC_COMMANDS_MAX: usize = BATCH_ITEMS_MAX - 1;
/// Bytes of all events that one batch may have, as JSON: a few bytes of command may ask for many of events, a thousand
/// times.
pub const BATCH_OUTCOME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of the reply to a batch. A larger one leaves its events out, so that it fits the server's default `max_payload`.
pub const BATCH_REPLY_BYTES_MAX: usize = 1_000_000;

/// Bytes of a line in a file of commands. Its body may have [`COMMAND_BYTES_MAX`], and the members around it are short: a
/// longer line is no command, and must not be read into memory to find that out.
pub const LINE_BYTES_MAX: usize = 2 * COMMAND_BYTES_MAX;

/// Bytes of all events of one command (or of a rejection's details), as JSON. Together with [`COMMAND_BYTES_MAX`] it
/// stays under 1 MiB.
pub const OUTCOME_BYTES_MAX: usize = 512 * 1024;

/// Bytes of the headers that we read. More is refused before anything is parsed.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;

/// Depth of nesting of a JSON body. Comparing two bodies recurses that deep.
pub const JSON_DEPTH_MAX: usize = 64;

/// Bytes of a reply subject: an inbox prefix, a principal and a few random tokens.
pub const REPLY_SUBJECT_BYTES_MAX: usize = 512;

/// Bytes of `traceparent` (W3C Trace Context, version 00: exactly 55; later versions may be longer).
pub const TRACEPARENT_BYTES_MAX: usize = 128;

/// Longest attachment of an outcome query, in milliseconds.
pub const WAIT_MS_MAX: u64 = 30_000;
/// Outcome queries that may be attached at once. One more is answered at once, as if it had not asked to wait.
pub const WAITERS_MAX: usize = 10_000;

/// Messages that are taken in at once. Bounds what one fsync carries and how long a neighbour waits for it.
pub const PULL_MESSAGES_MAX: usize = 2_048;
/// Bytes that one pull may bring, so that what is buffered is bounded also if all messages are large. The server cuts a
/// client off to which more than 64 MiB are on their way, and two pulls may be.
pub const PULL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of bodies that are taken in at once, up to one message more: a batch may have a thousand commands of 70 bytes, so
/// that it is some twenty thousand commands at most.
pub const TURN_BYTES_MAX: usize = 1024 * 1024;
/// Commands that are taken in and not answered yet. The consumer's `max_ack_pending` is the same number.
pub const IN_FLIGHT_COMMANDS_MAX: usize = 20_000;

/// How often a command may have been delivered, and never to this process, to be handed out together with others. Above it
/// processes may have died of it, and it comes alone.
pub const DELIVERIES_TOGETHER_MAX: u64 = 3;
/// How many processes may end with a command alone in hand. Then it goes into quarantine.
pub const ENDED_WITH_MAX: u32 = 5;

/// Bytes of a commit's JSON. Four times what the rest of the contract allows; a length above it is damage, or none of ours,
/// and is not allocated.
pub const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Commits that are not yet in sled. Above it intake stops pulling.
pub const UNINDEXED_COMMITS_MAX: usize = 100_000;
/// Bytes of commits that are not yet in sled.
pub const UNINDEXED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long the index may stand still while it has work, before the process ends.
pub const INDEX_STALL_MAX: Duration = Duration::from_secs(30);

/// Aggregates whose state is held in memory. One that is not is folded from its last snapshot and some hundred events, or
/// from its first event: an index that was built anew has no snapshots.
pub const LIVE_AGGREGATES_MAX: usize = 50_000;
/// Bytes of their states as JSON: a state may be as large as its events make it. In memory they take a few times that.
pub const LIVE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Events between two snapshots of an aggregate: a cold one that has a snapshot folds at most this many behind it, and what
/// one command adds.
pub const SNAPSHOT_EVERY_EVENTS: u64 = 100;

/// How far our clock and the broker's may differ before nothing is decided.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(30);

/// What a refused sender is told to wait when the processor is not available, in milliseconds. More than the stream's
/// duplicate window (100 ms, seen up to 152), or the stream would swallow the retry.
pub const RETRY_AFTER_MS: u64 = 250;

const _: () = assert!(ID_CHARS_MIN <= ID_CHARS_MAX && ID_CHARS_MAX <= TOKEN_BYTES_MAX); // An id is a token of `qry.`.
const _: () = assert!(COMMAND_BYTES_MAX + OUTCOME_BYTES_MAX + HEADER_BYTES_MAX < 1024 * 1024); // A commit fits a message.
const _: () = assert!(1024 * 1024 <= COMMIT_BYTES_MAX); // And whatever fits a message can be recorded.
const _: () = assert!(BATCH_ITEMS_MAX <= UNINDEXED_COMMITS_MAX); // A batch can be taken in.
const _: () = assert!(OUTCOME_BYTES_MAX <= BATCH_OUTCOME_BYTES_MAX); // One item may be as large as a command.
const _: () = assert!(PULL_MESSAGES_MAX <= IN_FLIGHT_COMMANDS_MAX); // What comes at once can be taken in.
const _: () = assert!(IN_FLIGHT_COMMANDS_MAX <= UNINDEXED_COMMITS_MAX); // What is in flight fits what may wait.
