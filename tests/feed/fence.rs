//! Two processors with copies of one store that have gone apart, and one feed (I15, I18).

use futures::FutureExt;
use hapax::Commit;
use hapax::nats::feed::{Answer, Publisher};
use hapax::serve::{Feed, Settings};

use crate::common::feed::{feed_is_store, read_feed, read_store};
use crate::common::folder::copy_of;
use crate::plain::{id, site};
use crate::processor::{RunningProcessor, samples, settings};
use crate::stream::{SOME, some_of_everything};

/// Each message said for itself what had to be the last before it, and a sheaf was sent without waiting:
/// 1. both are behind position 8, and each has decided three more commands;
/// 2. the first one's commit comes to position 9;
/// 3. the other one's at 9 is refused; but its next one finds the stream at 9, and was stored at 10.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_not_the_first_adds_nothing() {
    let (nats, first, processor, alice) = site().await;
    some_of_everything(&alice).await;
    processor.stop().await;
    let second = copy_of(first.path());
    // They decide one after the other, so that both commands do come to both; and what they decide is not fed yet.
    for (number, data) in [first.path(), second.path()].into_iter().enumerate() {
        let unfed = Settings { feed: Feed::Off, ..settings(nats.url(), data) };
        let processor = RunningProcessor::start_with(samples(), unfed).await;
        for amount in 1..=3 {
            let id = id(100 * (number as u64 + 1) + amount);
            alice.tell("account.42.deposit", &id, &format!(r#"{{"amount":{amount}}}"#)).await;
        }
        processor.stop().await;
    }
    let (ours, theirs) = (read_store(first.path(), 0), read_store(second.path(), 0));
    let behind = usize::try_from(SOME).unwrap();
    assert_eq!((ours.len(), theirs.len()), (behind + 3, behind + 3));

    let publisher = Publisher::new(alice.jetstream(), 0);
    let publish = async |commits: &[Commit]| publisher.publish(commits).await.unwrap().await;
    let stored = |sequence| Answer::Stored { sequence, duplicate: false };
    assert_eq!(publish(&ours[behind..=behind]).await, stored(SOME + 1));
    assert_eq!(publish(&theirs[behind..]).await, Answer::Unknown);
    assert_eq!(read_feed(&nats.client().await, 0).await.len(), behind + 1, "the other one adds nothing");
    // Both at once: all of one of them, and nothing of the other.
    let (left, right) = (publisher.publish(&ours[behind + 1..]).await, publisher.publish(&theirs[behind + 1..]).await);
    let answers = futures::future::join(left.unwrap(), right.unwrap().boxed()).await;
    assert_eq!(answers, (stored(SOME + 3), Answer::Unknown));
    assert_eq!(feed_is_store(&nats.client().await, first.path(), 0).await, behind + 3);
}
