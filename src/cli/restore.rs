//! `restore`: a lost data directory from the feed.

use std::path::PathBuf;

use clap::Args;

use super::bars::{IndexBars, commits_bar};
use super::connection::Connection;
use super::exit::{Exit, Failure};
use super::output;
use crate::model::Position;
use crate::nats::connect;
use crate::serve::restore::Restore;

/// Make a lost data directory again, from the feed
///
/// Every commit is checked by the chain, from the store's id on. What was decided last may not have come to the feed: it is
/// lost, also if a client has its outcome, and its id would be decided again. So this is said first, and done only with
/// --accept-loss. Afterwards a processor starts on the new directory as on the old one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hapax restore --from-feed --data /var/lib/hapax-new --accept-loss")]
pub(super) struct Arguments {
    /// From the streams EVENTS_<p> of the NATS server
    #[arg(long, required = true)]
    from_feed: bool,

    /// The data directory to be made; nothing may be in it but what a volume has by itself
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Restore, although what the feed lagged behind is lost
    #[arg(long)]
    accept_loss: bool,

    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let options = arguments.connection.options()?;
    let client = connect(&options).await?;
    let restore = Restore::find(&options.jetstream(client)).await?;
    let number = |position: Option<Position>| position.map_or(0, Position::get);
    let lasts: Vec<u64> = restore.lasts().map(number).collect();
    let total: u64 = lasts.iter().sum();
    eprintln!("the feed of store {} has {total} commits, in {} partition(s)", restore.store(), lasts.len());
    for (partition, last) in lasts.iter().enumerate() {
        eprintln!("WARNING: what partition {partition} has decided after position {last}, if anything, is LOST");
    }
    if !arguments.accept_loss {
        let message = "clients may have outcomes that are lost, and those ids would be decided again: look for the old disk \
                       or a later copy first, and say --accept-loss if there is none";
        return Err(Failure::new(Exit::Failed, message));
    }
    let bar = commits_bar(total, "restoring".into());
    let indexes = IndexBars::default();
    let restoring = bar.clone();
    let indexed = move |partition, progress| {
        restoring.finish_and_clear();
        indexes.show(partition, progress);
    };
    let restored = restore.run(&arguments.data, |count| bar.inc(count), indexed).await;
    bar.finish_and_clear();
    restored?;
    output::line(format!("restored: {total} commits in {}", arguments.data.display()))?;
    Ok(Exit::Done)
}
