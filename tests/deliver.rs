//! Commands in and answers out, over a real server.

mod common;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, AckKind, context::GetStreamErrorKind};
use async_nats::{Client, HeaderMap};
use common::nats::NatsServer;
use futures::{FutureExt, StreamExt};
use hapax::nats::ConnectOptions;
use hapax::nats::deliver::{DeliverError, Deliveries};
use hapax::nats::message::Message;
use hapax::nats::provision::{ACK_WAIT, COMMANDS, QUARANTINE, Wanted, check_or_create};
use hapax::nats::quarantine::{self, QuarantineError};
use hapax::nats::sender::Sender;
use hapax::nats::stored;
use hapax::nats::suspects::Suspects;
use uuid::Uuid;

/// Far above what any step takes; a step that never ends fails here.
const PATIENCE: Duration = Duration::from_secs(30);

struct Broker {
    server: NatsServer,
    client: Client,
    context: jetstream::Context,
    deliveries: Deliveries,
}

impl Broker {
    async fn start() -> Broker {
        let server = NatsServer::start();
        let client = server.client().await;
        let context = jetstream::new(client.clone());
        let deliveries = deliveries(&server, &context).await;
        Broker { server, client, context, deliveries }
    }

    /// Publishes commands number `from` to `upto`, and waits until the server has them.
    async fn publish(&self, from: u64, upto: u64) {
        for number in from..=upto {
            let subject = format!("cmd.alice.account.{number}.deposit");
            self.client.publish(subject, number.to_string().into()).await.unwrap();
        }
        self.client.flush().await.unwrap();
    }

    async fn pull(&mut self) -> Vec<Message> {
        tokio::time::timeout(PATIENCE, self.deliveries.pull()).await.expect("a pull takes no time").unwrap()
    }

    /// Pulls until there are so many.
    async fn pull_all(&mut self, count: usize) -> Vec<Message> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.pull().await);
        }
        all
    }

    /// Asks until the server has sent everything.
    async fn until_all_is_delivered(&self) {
        let stream = self.context.get_stream(COMMANDS).await.unwrap();
        let all = async { while stream.consumer_info("processor-0").await.unwrap().num_pending > 0 {} };
        tokio::time::timeout(PATIENCE, all).await.expect("everything is delivered");
    }

    /// Asks until the stream is empty: the server works through acknowledgements on the side.
    async fn until_nothing_waits(&self) {
        let empty =
            async { while self.context.get_stream(COMMANDS).await.unwrap().cached_info().state.messages > 0 {} };
        tokio::time::timeout(PATIENCE, empty).await.expect("everything is acknowledged");
    }
}

async fn deliveries(server: &NatsServer, context: &jetstream::Context) -> Deliveries {
    deliveries_of(server, context, Suspects::none()).await
}

async fn deliveries_of(server: &NatsServer, context: &jetstream::Context, suspects: Suspects) -> Deliveries {
    let wanted = Wanted { partitions: 1, store: Uuid::from_u128(1), create: true, take_over: false };
    let provisioned = check_or_create(context, &wanted).await.unwrap();
    let options = ConnectOptions { servers: vec![server.url()], ..ConnectOptions::default() };
    Deliveries::new(options, context.clone(), provisioned.consumers.into_iter().next().unwrap(), 0, suspects)
}

fn numbers(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|message| std::str::from_utf8(&message.body).unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn a_pull_takes_all_that_is_there() {
    let mut broker = Broker::start().await;
    let mut batches = Vec::new();
    // The first one comes alone, and the second one through the pull that goes on.
    for number in 1..=2 {
        broker.publish(number, number).await;
        batches.push(broker.pull().await);
    }
    broker.publish(3, 1_000).await;
    broker.until_all_is_delivered().await;
    while batches.iter().map(Vec::len).sum::<usize>() < 1_000 {
        batches.push(broker.pull().await);
    }
    assert_eq!(numbers(&batches.concat()), (1..=1_000).collect::<Vec<_>>());
    // The budget of tokio's tasks would cut every batch at less than that.
    assert!(batches.iter().any(|batch| batch.len() > 128), "the largest of {} batches is small", batches.len());
}

/// The server cuts off a client to which more than 64 MiB are on their way ("slow consumer"). A pull of that size did it
/// with large commands whenever the processor was busy for a moment: all that was under way came again after `ack_wait`.
/// So one pull asks for much less.
#[tokio::test]
async fn large_commands_for_a_busy_processor_do_not_cut_it_off() {
    let mut broker = Broker::start().await;
    let body: bytes::Bytes = vec![b'x'; 250 * 1024].into();
    for number in 1..=500 {
        let stored = broker.context.publish(format!("cmd.alice.account.{number}.deposit"), body.clone()).await.unwrap();
        stored.await.unwrap();
    }
    // Nothing is acknowledged here, so on a slow machine some come again after `ack_wait`. That is not what is tested:
    // the server says itself whom it has cut off.
    let mut seen = std::collections::BTreeSet::new();
    for pull in 0.. {
        seen.extend(broker.pull().await.into_iter().map(|message| message.stream_sequence));
        if seen.len() == 500 {
            break;
        }
        // Nothing is read while this thread is busy; it is the only one that this test has.
        if pull % 16 == 0 {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    assert!(!broker.server.log().contains("Slow Consumer"), "{}", broker.server.log());
}

#[tokio::test]
async fn a_message_says_what_the_broker_knows() {
    let mut broker = Broker::start().await;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "id-0123456789abcdef");
    headers.append("Hapax-Void", "one");
    headers.append("Hapax-Void", "two");
    headers.insert("X-Other", "stays behind");
    let before = time::OffsetDateTime::now_utc();
    broker.client.publish_with_headers("cmd.alice.account.42.deposit", headers, "{}".into()).await.unwrap();

    let message = broker.pull().await.remove(0);
    assert_eq!(message.subject.as_str(), "work.0.alice.account.42.deposit");
    let mut headers = message.headers.clone();
    headers.sort();
    let value = |text: &str| text.to_string();
    let wanted =
        [("Hapax-Void", value("one")), ("Hapax-Void", value("two")), ("Nats-Msg-Id", value("id-0123456789abcdef"))];
    assert_eq!(headers, wanted);
    assert_eq!((message.stream_sequence, message.deliveries, &message.body[..]), (1, 1, &b"{}"[..]));
    let stored_at = i128::from(message.stored_at.unix_micros()) * 1_000;
    assert!((stored_at - before.unix_timestamp_nanos()).abs() < 5_000_000_000);
}

#[tokio::test]
async fn a_dropped_pull_loses_nothing() {
    let mut broker = Broker::start().await;
    let mut all = Vec::new();
    for number in 1..=300 {
        broker.publish(number, number).await;
        // Polled once and dropped, over and over, as `select!` does with its losing branches.
        for _ in 0..3 {
            if let Some(batch) = broker.deliveries.pull().now_or_never() {
                all.extend(batch.unwrap());
            }
        }
    }
    let missing = 300 - all.len();
    all.extend(broker.pull_all(missing).await);
    assert_eq!(numbers(&all), (1..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_acknowledged_command_is_gone_and_another_comes_again() {
    let mut broker = Broker::start().await;
    let sender = Sender::new(broker.client.clone());
    broker.publish(1, 3).await;
    let first = broker.pull_all(3).await;
    sender.ack(first[0].ack.clone()).await.unwrap();
    sender.ack(first[1].ack.clone()).await.unwrap();
    broker.client.flush().await.unwrap();

    let pulled_at = tokio::time::Instant::now();
    let again = broker.pull().await;
    assert_eq!((numbers(&again), again[0].deliveries), (vec![3], 2));
    assert!(pulled_at.elapsed() > ACK_WAIT - Duration::from_secs(1), "it came again too early");
    sender.ack(again[0].ack.clone()).await.unwrap();
    broker.until_nothing_waits().await;
}

#[tokio::test]
async fn goes_on_after_the_broker_was_killed() {
    let mut broker = Broker::start().await;
    broker.publish(1, 1).await;
    assert_eq!(numbers(&broker.pull().await), [1]); // The first one comes alone; then the stream is open.
    broker.publish(2, 2).await;
    assert_eq!(numbers(&broker.pull().await), [2]);
    assert_eq!(broker.deliveries.silent_since(), None);

    broker.server.kill();
    let killed_at = tokio::time::Instant::now();
    while broker.deliveries.silent_since().is_none() {
        assert!(killed_at.elapsed() < PATIENCE, "a server that is down is not heard");
        let while_down = tokio::time::timeout(Duration::from_millis(50), broker.deliveries.pull()).await;
        assert!(while_down.is_err(), "nothing can come while the server is down");
    }

    broker.server.start_again();
    let other = broker.server.client().await;
    other.publish("cmd.alice.account.3.deposit", "3".into()).await.unwrap();
    other.flush().await.unwrap();
    let mut seen = Vec::new();
    while !seen.contains(&3) {
        seen.extend(numbers(&broker.pull().await)); // The first two may come again.
    }
    assert_eq!(broker.deliveries.silent_since(), None);
    assert!(broker.deliveries.faults() > 0);
}

#[tokio::test]
async fn a_deleted_consumer_or_one_made_anew_is_an_error() {
    let mut broker = Broker::start().await;
    broker.publish(1, 1).await;
    broker.pull().await;
    broker.context.delete_consumer_from_stream("processor-0", COMMANDS).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, broker.deliveries.pull()).await.unwrap();
    assert!(matches!(ended, Err(DeliverError::ConsumerGone(name)) if name == "processor-0"));

    let mut anew = deliveries(&broker.server, &broker.context).await;
    let ended = tokio::time::timeout(PATIENCE, broker.deliveries.pull()).await.unwrap();
    assert!(matches!(ended, Err(DeliverError::ConsumerGone(_))), "the new consumer is not the one it knew");
    let batch = tokio::time::timeout(PATIENCE, anew.pull()).await.unwrap().unwrap();
    assert_eq!(numbers(&batch), [1]);
}

/// A lone carriage return in a header's value, which the server stores as it is, panics the client's connection task: the
/// subscription ends, and `connection_state()` says Connected for ever. A processor that waited for more stood still, and
/// later ended, and again at every start. Now another connection is made, and what killed the first one is put away.
#[tokio::test]
async fn goes_on_behind_a_header_that_kills_the_client() {
    let mut broker = Broker::start().await;
    broker.publish(1, 1).await;
    broker.pull().await;

    let headers = "NATS/1.0\r\nX-Poison: a\rb\r\n\r\n";
    let mut socket = TcpStream::connect(("127.0.0.1", broker.server.port())).unwrap();
    let length = headers.len();
    let publish = format!("HPUB cmd.alice.account.2.deposit {length} {}\r\n{headers}2\r\n", length + 1);
    socket
        .write_all(format!("CONNECT {{\"headers\":true,\"verbose\":false}}\r\n{publish}PING\r\n").as_bytes())
        .unwrap();
    let gone = async {
        while broker.deliveries.put_away() == 0 {
            let _ = tokio::time::timeout(Duration::from_millis(50), broker.deliveries.pull()).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is put away");
    broker.publish(3, 3).await;
    let mut seen = Vec::new();
    while !seen.contains(&3) {
        seen.extend(numbers(&broker.pull().await)); // The first one may come again.
    }
    assert!(!seen.contains(&2));
    let kept = quarantine::get(&broker.context, 1).await.unwrap();
    assert_eq!((kept.subject.as_str(), kept.command_sequence), ("cmd.alice.account.2.deposit", Some(2)));
    assert_eq!((&kept.headers[..], &kept.body[..]), (headers.as_bytes(), &b"2"[..]));
    assert!(kept.reason.contains("lone carriage return"), "{}", kept.reason);
    let refused = quarantine::retry(&broker.context, &kept).await.unwrap_err();
    assert!(matches!(refused, QuarantineError::Unreadable { sequence: 1, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_reply_says_whether_it_is_replayed() {
    let broker = Broker::start().await;
    let sender = Sender::new(broker.client.clone());
    let mut inbox = broker.client.subscribe("_INBOX.alice.1").await.unwrap();
    sender.reply("_INBOX.alice.1".into(), "{}".into(), false).await.unwrap();
    sender.reply("_INBOX.alice.1".into(), "{}".into(), true).await.unwrap();
    assert!(inbox.next().await.unwrap().headers.is_none());
    let headers = inbox.next().await.unwrap().headers.unwrap();
    assert_eq!(headers.get("Hapax-Replayed").unwrap().as_str(), "true");
}

#[tokio::test]
async fn quarantine_keeps_what_came_and_gives_it_back() {
    let mut broker = Broker::start().await;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "id-0123456789abcdef");
    headers.append("X-Other", "one");
    headers.append("X-Other", "two");
    broker.client.publish_with_headers("cmd.alice.account.42.deposit", headers, "{".into()).await.unwrap();
    let message = broker.pull().await.remove(0);
    // Twice, as after a crash: this stream must keep both, whatever their id.
    for _ in 0..2 {
        quarantine::put_away(&broker.context, 0, 1, "decide panicked:\nindex out of bounds").await.unwrap();
    }
    Sender::new(broker.client.clone()).ack(message.ack).await.unwrap();
    broker.until_nothing_waits().await;
    // What is settled is not put away.
    quarantine::put_away(&broker.context, 0, 1, "too late").await.unwrap();

    let kept = quarantine::next(&broker.context, 2).await.unwrap().unwrap();
    assert_eq!((kept.sequence, kept.command_sequence, kept.principal()), (2, Some(1), "alice"));
    assert_eq!(kept.subject, "cmd.alice.account.42.deposit");
    assert_eq!(kept.reason, "decide panicked:\u{fffd}index out of bounds");
    assert!(quarantine::next(&broker.context, 3).await.unwrap().is_none());

    quarantine::retry(&broker.context, &kept).await.unwrap();
    let again = broker.pull().await.remove(0);
    assert_eq!((again.headers, again.body), (message.headers, message.body));
    // The library's own reader of stored messages would show the last of two headers only.
    let stored = stored::get(&broker.context, COMMANDS, 2).await.unwrap().unwrap();
    let headers = stored.readable().unwrap();
    let others: Vec<_> = headers.get_all("X-Other").map(ToString::to_string).collect();
    assert_eq!(others, ["one", "two"]);
    let gone = [
        quarantine::get(&broker.context, 2).await.unwrap_err(),
        quarantine::remove(&broker.context, 2).await.unwrap_err(),
    ];
    assert!(gone.iter().all(|error| matches!(error, QuarantineError::Unknown(2))), "{gone:?}");
    quarantine::remove(&broker.context, 1).await.unwrap();
    assert!(quarantine::next(&broker.context, 1).await.unwrap().is_none());
}

#[tokio::test]
async fn quarantine_that_does_not_exist_is_an_error() {
    let mut broker = Broker::start().await;
    broker.publish(1, 1).await;
    broker.pull().await;
    broker.context.delete_stream(QUARANTINE).await.unwrap();
    let gone = broker.context.get_stream(QUARANTINE).await.unwrap_err();
    assert!(matches!(gone.kind(), GetStreamErrorKind::JetStream(_)));
    assert!(quarantine::put_away(&broker.context, 0, 1, "y").await.is_err());
}

/// A command that had been delivered often, and never to this process, may be what the others died of. It comes alone,
/// and its neighbours do not wait for it longer than that; and at last nobody looks at it any more.
#[tokio::test]
async fn what_others_may_have_died_of_comes_alone_and_at_last_not_at_all() {
    let broker = Broker::start().await;
    let (mut died, folder) = (0, tempfile::tempdir().unwrap());
    let sender = Sender::new(broker.client.clone());
    broker.publish(1, 5).await;
    // Processes take all there is, and die of the third one. What they had in hand then comes again; here at once, and
    // not after `ack_wait`.
    while quarantine::next(&broker.context, 1).await.unwrap().is_none() {
        assert!(died <= 8);
        let suspects = Suspects::open(folder.path().join("suspects.json"));
        let mut process = deliveries_of(&broker.server, &broker.context, suspects).await;
        while let Ok(batch) = tokio::time::timeout(Duration::from_secs(1), process.pull()).await {
            let batch = batch.unwrap();
            let dies = numbers(&batch).contains(&3);
            for message in batch {
                assert!(message.deliveries <= 3 || process.is_careful());
                if dies {
                    broker.client.publish(message.ack.clone(), "-NAK".into()).await.unwrap();
                } else {
                    sender.ack(message.ack.clone()).await.unwrap();
                }
            }
            broker.client.flush().await.unwrap();
            if dies {
                died += 1;
                break;
            }
        }
        // It does not come to closing anything, and leaves its notes as they are.
        let notes = folder.path().join("suspects.json");
        let left = std::fs::read(&notes).ok();
        drop(process);
        if let Some(left) = left {
            std::fs::write(notes, left).unwrap();
        }
    }
    // What was on its way to a process that had just died counts as a delivery too.
    assert!((5..=8).contains(&died), "{died}: at most three times with others, five times alone");
    broker.until_nothing_waits().await;
    let kept = quarantine::get(&broker.context, 1).await.unwrap();
    assert_eq!(kept.subject, "cmd.alice.account.3.deposit");
    assert!(quarantine::next(&broker.context, 2).await.unwrap().is_none(), "its neighbours are not there");
}

/// Over a bad line the count of deliveries rises though nothing arrives. It was taken for the count of processes that have
/// died, and a command that nobody had ever had went into quarantine.
#[tokio::test]
async fn a_command_that_did_not_arrive_is_not_condemned() {
    let broker = Broker::start().await;
    broker.publish(1, 1).await;
    let stream = broker.context.get_stream(COMMANDS).await.unwrap();
    let line: PullConsumer = stream.get_consumer("processor-0").await.unwrap();
    for _ in 0..20 {
        let mut lost = line.fetch().max_messages(1).expires(PATIENCE).messages().await.unwrap();
        lost.next().await.unwrap().unwrap().ack_with(AckKind::Nak(None)).await.unwrap();
    }
    let mut process = deliveries(&broker.server, &broker.context).await;
    let batch = tokio::time::timeout(PATIENCE, process.pull()).await.expect("it comes").unwrap();
    assert_eq!(numbers(&batch), [1]);
    assert!(20 < batch[0].deliveries);
    Sender::new(broker.client.clone()).ack(batch[0].ack.clone()).await.unwrap();
    broker.until_nothing_waits().await;
    assert!(quarantine::next(&broker.context, 1).await.unwrap().is_none());
}
