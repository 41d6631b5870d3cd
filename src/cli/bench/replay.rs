//! How fast is a history read back? No broker and no processor: a journal on the disk, and one thread.

use super::figures::{Figure, Figures};
use super::report::Row;
use super::world::{Folder, Place};
use crate::bench::{Pass, ReplayError, fold_commits, fold_history, parse_changes, parse_history, record_history};
use crate::cli::exit::{Exit, Failure};
use crate::model::error::with_sources;
use crate::store::file::FileReader;

/// Commits of the history if nothing is said.
pub(super) const RECORDED: u64 = 1_000_000;

/// What is compared with.
const PARSE: &str = "parse";

/// What is done with the history, in turn.
const CASES: [(&str, Work); 4] = [
    (PARSE, parse_history),
    ("parse, what is folded", parse_changes),
    ("replay", fold_history),
    ("replay, whole commits", fold_commits),
];

type Work = fn(&FileReader) -> Result<Pass, ReplayError>;

/// Measures all cases.
pub(super) async fn replay(place: &Place, recorded: u64, runs: u32, say: impl Fn(&str)) -> Result<Vec<Row>, Failure> {
    let folder = Folder::make(place)?;
    let dir = folder.path().join("journal");
    say(&format!("recording {recorded} commits"));
    let reader = apart(move || {
        record_history(&dir, recorded)?;
        Ok(FileReader::open_read_only(&dir)?)
    });
    let reader = reader.await?;
    let compared = |name: &str| (name != PARSE).then_some(PARSE);
    let mut rows: Vec<Row> = CASES.iter().map(|(name, _)| Row::new((*name).into(), 1, compared(name))).collect();
    for run in 1..=runs {
        for (index, (name, work)) in CASES.into_iter().enumerate() {
            let reader = reader.clone();
            let pass = apart(move || work(&reader)).await?;
            say(&format!("run {run} of {runs}: {name}: {:.0} events a second", pass.per_second()));
            let mut figures = figures(pass);
            if let Some(parse) = rows[0].runs.last().filter(|_| index > 0) {
                figures.compare(Figure::Compared, Figure::Events, parse);
            }
            rows[index].runs.push(figures);
        }
    }
    Ok(rows)
}

fn figures(pass: Pass) -> Figures {
    let mut figures = Figures::default();
    figures.set(Figure::Events, pass.per_second());
    figures
}

/// On a thread of its own, so that an interruption is heard.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReplayError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    done.map_err(|error| Failure::new(Exit::Failed, with_sources(&error)))
}
