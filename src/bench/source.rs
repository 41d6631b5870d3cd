//! What is sent? Messages that follow from their numbers alone, so that all of them can be sent again without being kept.

use bytes::Bytes;
use uuid::{Builder, Uuid};

use super::entry::body;

/// The last number within a millisecond: 16 bits of an id tell those apart.
const IN_A_TICK_MAX: u64 = u16::MAX as u64;

/// One message, ready to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub subject: String,
    /// The command's id.
    pub id: String,
    /// The command's body.
    pub body: Bytes,
    /// How many commands are in it: what is counted. One, unless it is a batch.
    pub commands: u64,
}

/// What ids look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// UUIDv7: they ascend, so that an index puts new ones side by side.
    V7,
    /// UUIDv4: a new one belongs anywhere in an index.
    Random,
}

/// Commands without end, one a message or in batches.
#[derive(Debug, Clone)]
pub struct Source {
    ids: Ids,
    /// What makes this source's ids its own.
    seed: u64,
    /// The first number of each millisecond in which ids of version 7 were made.
    ticks: Vec<(u64, u64)>,
    /// How many were made, in all.
    made: u64,
    aggregates: u64,
    is_scattered: bool,
    body: Bytes,
    /// Commands in a message; 1: they are no batches.
    in_one: u64,
    next: u64,
}

impl Source {
    /// Commands that go to so many aggregates in turn, with bodies of so many bytes.
    pub fn new(ids: Ids, aggregates: u64, body_bytes: usize) -> Source {
        Source {
            ids,
            seed: rand::random(),
            ticks: Vec::new(),
            made: 0,
            aggregates,
            is_scattered: false,
            body: body(body_bytes).into(),
            in_one: 1,
            next: 0,
        }
    }

    /// From now on so many commands in a message, each for itself.
    #[must_use]
    pub fn in_batches_of(self, commands: u64) -> Source {
        Source { in_one: commands, ..self }
    }

    /// From now on to aggregates all over the place instead of in turn.
    pub fn scatter(&mut self) {
        self.is_scattered = true;
    }

    /// The same messages once more, from the first one.
    #[must_use]
    pub fn again(&self) -> Source {
        Source { next: 0, ..self.clone() }
    }

    /// How many messages make a command to each aggregate, while they go to them in turn.
    pub fn messages_to_each(&self) -> u64 {
        self.aggregates.div_ceil(self.in_one)
    }

    /// How many have been taken out of it.
    pub fn taken(&self) -> u64 {
        self.next
    }

    /// The first number of the millisecond in which a number was made for the first time, and that millisecond. While the
    /// clock stands still or is set back, the next one begins when this one is full.
    fn tick_of(&mut self, number: u64, clock: impl FnOnce() -> u64) -> (u64, u64) {
        if self.made <= number {
            self.made = number + 1;
            let now = clock();
            match self.ticks.last() {
                Some((first, ms)) if now <= *ms && number - first <= IN_A_TICK_MAX => {}
                last => {
                    let next = last.map_or(now, |(_, ms)| now.max(ms + 1));
                    self.ticks.push((number, next));
                }
            }
        }
        let behind = self.ticks.partition_point(|(first, _)| *first <= number);
        self.ticks[behind - 1]
    }

    fn id(&mut self, number: u64) -> Uuid {
        let mut random = [0; 16];
        random[..8].copy_from_slice(&scattered(self.seed ^ number).to_be_bytes());
        random[8..].copy_from_slice(&scattered(self.seed.rotate_left(32) ^ number).to_be_bytes());
        match self.ids {
            Ids::Random => Builder::from_random_bytes(random).into_uuid(),
            Ids::V7 => {
                // A UUIDv7 begins with 48 bits of milliseconds.
                let (first, ms) = self.tick_of(number, || Uuid::now_v7().as_u64_pair().0 >> 16);
                let mut rest = [0; 10];
                rest.copy_from_slice(&random[..10]);
                // Within a millisecond they ascend too. The upper four of these bits are taken by the version.
                let within = u16::try_from(number - first).expect("a tick has no more");
                [rest[0], rest[1]] = (within >> 4).to_be_bytes();
                rest[2] = (rest[2] & 0x03) | ((within as u8 & 0x0f) << 2);
                Builder::from_unix_timestamp_millis(ms, &rest).into_uuid()
            }
        }
    }
}

impl Iterator for Source {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        if self.in_one > 1 {
            return Some(self.next_batch());
        }
        let (key, id) = self.next_command();
        let subject = format!("cmd.bench.entries.{key}.enter");
        Some(Message { subject, id: id.to_string(), body: self.body.clone(), commands: 1 })
    }
}

impl Source {
    fn next_command(&mut self) -> (u64, Uuid) {
        let number = self.next;
        self.next += 1;
        let place = if self.is_scattered { scattered(number) } else { number };
        (place % self.aggregates, self.id(number))
    }

    fn next_batch(&mut self) -> Message {
        let mut items = Vec::new();
        for _ in 0..self.in_one {
            let (key, id) = self.next_command();
            items.extend_from_slice(if items.is_empty() { br#"{"atomic":false,"commands":["# } else { b"," });
            items.extend_from_slice(
                format!(r#"{{"id":"{id}","aggregate":"entries","key":"{key}","command":"enter","data":"#).as_bytes(),
            );
            items.extend_from_slice(&self.body);
            items.push(b'}');
        }
        items.extend_from_slice(b"]}");
        Message {
            subject: "cmd.bench._batch.0.run".into(),
            id: Uuid::now_v7().to_string(), // Not recorded: each for itself.
            body: items.into(),
            commands: self.in_one,
        }
    }
}

/// SplitMix64: neighbours end up far from each other.
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn again_is_the_same() {
        for ids in [Ids::V7, Ids::Random] {
            let mut source = Source::new(ids, 10, 256);
            let first: Vec<_> = source.by_ref().take(100).collect();
            assert_eq!(source.taken(), 100);
            assert_eq!(source.again().take(100).collect::<Vec<_>>(), first);
            let distinct: HashSet<_> = source.take(10_000).chain(first).map(|message| message.id).collect();
            assert_eq!(distinct.len(), 10_100, "{ids:?}");
        }
    }

    #[test]
    fn v7_ids_ascend_and_random_ones_do_not() {
        let ids = |ids| Source::new(ids, 10, 256).take(1_000).map(|message| message.id).collect::<Vec<_>>();
        assert!(ids(Ids::V7).is_sorted());
        assert!(!ids(Ids::Random).is_sorted());
        let version = |id: &String| Uuid::parse_str(id).expect("it is one").get_version_num();
        assert!(ids(Ids::V7).iter().all(|id| version(id) == 7));
        assert!(ids(Ids::Random).iter().all(|id| version(id) == 4));
    }

    #[test]
    fn a_clock_that_is_set_back_ends_nothing() {
        let mut source = Source::new(Ids::V7, 10, 256);
        let mut ticks: Vec<_> =
            (0..200_000).map(|number| source.tick_of(number, || 1_000 - number / 100_000)).collect();
        assert!((0..).zip(&ticks).all(|(number, (first, _))| number - first <= IN_A_TICK_MAX));
        ticks.dedup();
        assert_eq!(ticks, [(0, 1_000), (65_536, 1_001), (131_072, 1_002), (196_608, 1_003)]);
    }

    #[test]
    fn aggregates_come_in_turn_until_they_are_scattered() {
        let mut source = Source::new(Ids::V7, 1_000, 256);
        let subjects = |source: &mut Source| source.take(1_000).map(|message| message.subject).collect::<Vec<_>>();
        let in_turn = subjects(&mut source);
        assert_eq!(in_turn.iter().collect::<HashSet<_>>().len(), 1_000);
        source.scatter();
        let scattered = subjects(&mut source);
        assert_ne!(scattered, in_turn);
        assert!(scattered.iter().collect::<HashSet<_>>().len() > 500, "they go everywhere");
    }

    #[test]
    fn a_batch_is_one_that_can_be_read() {
        let message = Source::new(Ids::V7, 1_000, 256).in_batches_of(100).next().expect("it has no end");
        let batch = crate::model::batch::Batch::from_json(&message.body).expect("it is one");
        assert_eq!((batch.atomic, batch.items.len(), message.commands), (false, 100, 100));
    }

    #[test]
    fn bodies_have_their_size() {
        assert_eq!(Source::new(Ids::V7, 1, 256).next().expect("it has no end").body.len(), 256);
    }
}
