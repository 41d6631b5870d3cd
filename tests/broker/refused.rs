//! A broker and a data directory that do not belong together, or are not what they were.

use async_nats::jetstream;
use async_nats::jetstream::consumer::{FromConsumer, pull};
use futures::TryStreamExt;
use hapax::nats::provision::ProvisionError;
use hapax::samples::{Account, AccountCommand};
use hapax::serve::{DataDir, Fatal, Feed, ServeError, Settings};
use hapax::store::file::OpenError;
use hapax::{Aggregate, CommandId, Position};
use tempfile::TempDir;

use crate::common::feed::feed_is_store;
use crate::common::folder::copy_folder;
use crate::common::nats::NatsServer;
use crate::common::row::{Row, Verdict};
use crate::processor::{RunningProcessor, refused_start, samples, settings};
use crate::world::client;

const COMMANDS: u64 = 20;

/// Opens accounts, and says at which positions that is recorded.
async fn open_accounts(nats: &NatsServer) -> Vec<Position> {
    let client = client(nats).await;
    let mut positions = Vec::new();
    for number in 0..COMMANDS {
        let id = CommandId::parse(&format!("open-account-{number:04}")).unwrap();
        let open = AccountCommand::Open { owner: "ann".to_owned() };
        let opened = client.send(Account::at(number.to_string()), open).id(id).await.unwrap();
        let hapax::client::Outcome::Accepted { position, .. } = opened else { panic!("{opened:?}") };
        positions.push(position);
    }
    positions
}

/// A broker and a store with some accounts, whose processor has stopped; and where they are recorded.
async fn stopped() -> (NatsServer, TempDir, Vec<Position>) {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let first = open_accounts(&nats).await;
    processor.stop().await;
    (nats, data, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_data_is_refused_while_the_original_runs() {
    let nats = NatsServer::start();
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let first = open_accounts(&nats).await;
    copy_folder(data.path(), other.path());
    let error = refused_start(settings(nats.url(), other.path())).await;
    assert!(matches!(error, ServeError::Fatal(Fatal::Provision(ProvisionError::Busy { .. }))), "{error:?}");
    assert_eq!(open_accounts(&nats).await, first, "the original has noticed nothing");
    processor.stop().await;
    Row::whole("broker: a copy of the data is started too: refused", 1, &Verdict::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_data_a_processor_is_refused() {
    let (nats, data, first) = stopped().await;
    let kept = tempfile::tempdir().unwrap();
    std::fs::rename(data.path(), kept.path().join("data")).unwrap();
    let error = refused_start(settings(nats.url(), data.path())).await;
    assert!(matches!(error, ServeError::Fatal(Fatal::Provision(ProvisionError::ForeignStore { .. }))), "{error:?}");
    // With its data it goes on where it was.
    let processor = RunningProcessor::start(&nats, &kept.path().join("data")).await;
    assert_eq!(open_accounts(&nats).await, first);
    processor.stop().await;
    Row::whole("broker: streams there, the data gone: refused", 1, &Verdict::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_streams_a_processor_makes_them_and_forgets_nothing() {
    let (_nats, data, first) = stopped().await;
    let empty = NatsServer::start();
    let error = refused_start(settings(empty.url(), data.path())).await;
    assert!(matches!(error, ServeError::Fatal(Fatal::Provision(ProvisionError::FeedLost { .. }))), "{error:?}");
    let anew = Settings { feed: Feed::Anew, ..settings(empty.url(), data.path()) };
    let processor = RunningProcessor::start_with(samples(), anew).await;
    assert_eq!(open_accounts(&empty).await, first);
    processor.stop().await;
    assert_eq!(feed_is_store(&empty.client().await, data.path(), 0).await, first.len());
    Row::whole("broker: data there, the streams gone: made again when told to", 1, &Verdict::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_was_changed_is_refused_at_the_next_start() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let first = open_accounts(&nats).await;
    let context = jetstream::new(nats.client().await);
    let stream = context.get_stream("COMMANDS").await.unwrap();
    let good = stream.consumer_info("processor-0").await.unwrap().config;
    let good = pull::Config::try_from_consumer_config(good).unwrap();
    let changed = pull::Config { max_ack_pending: 10, ..good.clone() };
    stream.update_consumer(changed).await.unwrap();
    assert_eq!(open_accounts(&nats).await, first, "who runs goes on");
    processor.stop().await;
    let error = refused_start(settings(nats.url(), data.path())).await;
    let ServeError::Fatal(Fatal::Provision(ProvisionError::Drifted(drifts))) = error else { panic!("{error:?}") };
    assert_eq!(drifts.iter().map(|drift| drift.setting).collect::<Vec<_>>(), ["max_ack_pending"]);
    stream.update_consumer(good).await.unwrap();
    let processor = RunningProcessor::start(&nats, data.path()).await;
    assert_eq!(open_accounts(&nats).await, first);
    processor.stop().await;
    Row::whole("broker: consumer changed: goes on; refused at the next start", 1, &Verdict::default());
}

/// Made for the store that the file names, the streams would be refused to the one that is there, once the file is mended.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_file_of_another_store_nothing_is_made_on_the_broker() {
    let (_nats, data, first) = stopped().await;
    let file = data.path().join("hapax.json");
    let good = std::fs::read_to_string(&file).unwrap();
    let empty = NatsServer::start();
    let anew = || Settings { feed: Feed::Anew, ..settings(empty.url(), data.path()) };
    let store = DataDir::open(data.path()).unwrap().store().to_string();
    let other = uuid::Uuid::now_v7().to_string();
    for bad in [good.replace(&store, &other), good.replace("\"partitions\":1", "\"partitions\":3")] {
        assert_ne!(bad, good);
        std::fs::write(&file, bad).unwrap();
        let error = refused_start(anew()).await;
        let ServeError::Fatal(Fatal::Open(error)) = error else { panic!("{error:?}") };
        let is_foreign = matches!(error, OpenError::OtherStore { .. } | OpenError::OtherPartitions { .. });
        assert!(is_foreign, "{error:?}");
        let streams = jetstream::new(empty.client().await).stream_names().try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(streams, Vec::<String>::new(), "nothing is made in the name of another store");
    }
    std::fs::write(&file, good).unwrap();
    let processor = RunningProcessor::start_with(samples(), anew()).await;
    assert_eq!(open_accounts(&empty).await, first);
    processor.stop().await;
    Row::whole("broker: hapax.json is another store's: refused, nothing made", 2, &Verdict::default());
}
