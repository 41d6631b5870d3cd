//! `project`: a projection, folded from the feed and kept ready to be asked.

use std::path::PathBuf;

use clap::Args;

use super::bars::commits_bar;
use super::connection::Connection;
use super::exit::{Exit, Failure};
use super::output;
use super::signals::Signals;
use crate::model::error::with_sources;
use crate::projection::{Definition, Notice, ProjectionError, Settings, follow};

/// Fold a projection from the feed, go on with what comes, and answer for it
///
/// The result is kept together with how far it has come, so a start goes on where the last one ended, however it did. It is
/// folded again from the first commit if its author has raised its version, or if there is any doubt about it. Many
/// projections may run beside each other; none disturbs the processor.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hapax project balances --data /var/lib/hapax-projections")]
pub(super) struct Arguments {
    /// Which one
    name: String,

    /// The folder in which results are kept, each in one of its projection's name; made if it does not exist
    #[arg(long, value_name = "DIR", default_value = "./hapax-projections")]
    data: PathBuf,

    /// Keep the result in memory only: each start folds from the first commit
    #[arg(long, conflicts_with = "data")]
    in_memory: bool,

    /// Remove what is kept, and fold from the first commit
    #[arg(long)]
    rebuild: bool,

    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments, projections: Vec<Definition>) -> Result<Exit, Failure> {
    let Arguments { name, data, in_memory, rebuild, connection } = arguments;
    let known = projections.iter().map(|known| known.name().as_str()).collect::<Vec<_>>().join(", ");
    let Some(projection) = projections.into_iter().find(|known| known.name().as_str() == name) else {
        let known = if known.is_empty() { "none".into() } else { known };
        return Err(Failure::usage(format!("there is no projection {name:?}; this program has: {known}")));
    };
    let settings = Settings { nats: connection.options()?, data: (!in_memory).then_some(data), rebuild };
    let stop = Signals::listen().map_err(Failure::io("cannot listen to signals"))?.into_token();
    let bar = commits_bar(0, name.clone());
    follow(projection, settings, stop, |notice| match notice {
        Notice::Anew(why) => eprintln!("{name} is folded from the first commit, since {why}"),
        Notice::Folding { folded, total } => {
            bar.set_length(total);
            bar.set_position(folded);
        }
        Notice::CaughtUp(mark) => {
            bar.finish_and_clear();
            let positions = mark.partitions.iter().map(|place| place.map_or(0, |place| place.position.get()));
            let commits: u64 = positions.sum();
            // It answers also when nobody reads that.
            let _ = output::line(format!("ready: {name} of store {}, {commits} commits", mark.store));
        }
    })
    .await?;
    Ok(Exit::Done)
}

impl From<ProjectionError> for Failure {
    fn from(error: ProjectionError) -> Failure {
        match error {
            ProjectionError::Connect(error) => error.into(),
            ProjectionError::Feed(error) => error.into(),
            error => Failure::new(Exit::Failed, with_sources(&error)),
        }
    }
}
