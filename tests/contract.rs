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

use vectors::Report;

#[tokio::test(flavor = "multi_thread")]
async fn a_real_processor_fulfils_the_contract() {
    let report = vectors::run(real::Real::start().await, &["server", "test_aggregate"]).await;
    is_fulfilled(&report);
}

#[tokio::test]
async fn the_processor_alone_fulfils_the_contract() {
    let alone = alone::Alone::start(|processor| Box::new(processor));
    is_fulfilled(&vectors::run(alone, &["test_aggregate", "faults"]).await);
}

fn is_fulfilled(report: &Report) {
    println!("{} lines fulfilled, not run: {:?}", report.passed, report.skipped);
    let failed: Vec<String> = report.failed.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert!(failed.is_empty(), "not fulfilled:\n{}", failed.join("\n"));
}
