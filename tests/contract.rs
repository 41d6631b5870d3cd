//! The wire contract as data: `tests/vectors/contract.jsonl`, against a real nats-server and processor, against the
//! processor alone, and against processors that are wrong on purpose.

mod common;
#[path = "contract/alone.rs"]
mod alone;
#[path = "contract/fragile.rs"]
mod fragile;
#[path = "contract/real.rs"]
mod real;
#[path = "contract/vectors.rs"]
mod vectors;
#[path = "contract/wrong.rs"]
mod wrong;

use vectors::Report;

/// What the processor alone offers to lines that need something.
const ALONE: &[&str] = &["test_aggregate", "faults"];

#[tokio::test(flavor = "multi_thread")]
async fn a_real_processor_fulfils_the_contract() {
    let report = vectors::run(real::Real::start().await, &["server", "test_aggregate"]).await;
    is_fulfilled(&report);
}

#[tokio::test]
async fn the_processor_alone_fulfils_the_contract() {
    let alone = alone::Alone::start(|processor| Box::new(processor));
    is_fulfilled(&vectors::run(alone, ALONE).await);
}

/// A wrong processor that no line catches means that the vectors do not say something they should.
#[tokio::test]
async fn every_wrong_processor_is_caught() {
    let mut uncaught = Vec::new();
    for (name, wrap) in wrong::WRONG {
        let report = vectors::run(alone::Alone::start(wrap), ALONE).await;
        match report.failed.first() {
            Some((line, _)) => println!("{name}: caught by {line}, {} in all", report.failed.len()),
            None => uncaught.push(name),
        }
    }
    assert!(uncaught.is_empty(), "caught by no line: {uncaught:?}");
}

/// `scripts/contract` runs the files.
#[test]
fn the_readme_shows_the_clients_that_are_run() {
    let readme = include_str!("../README.md");
    for client in [include_str!("clients/send.py"), include_str!("clients/send.mjs")] {
        assert!(readme.contains(client), "README.md does not contain this, as it is:\n{client}");
    }
}

fn is_fulfilled(report: &Report) {
    println!("{} lines fulfilled, not run: {:?}", report.passed, report.skipped);
    let failed: Vec<String> = report.failed.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert!(failed.is_empty(), "not fulfilled:\n{}", failed.join("\n"));
}
