//! Faults under load.

use std::time::Duration;

use async_nats::jetstream;

use crate::common::proxy::Line;
use crate::world::World;

/// How often each fault happens to one world; `scripts/soak` wants it more often.
const RUNS: (&str, usize) = ("HAPAX_BROKER_RUNS", 3);

pub(crate) fn runs() -> usize {
    std::env::var(RUNS.0).map_or(RUNS.1, |number| number.parse().expect("a number of runs"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_killed() {
    let mut world = World::start().await;
    let (mut slowest, runs) = (Duration::ZERO, runs());
    for _ in 0..runs {
        world.nats.restart();
        slowest = slowest.max(world.some_more().await);
    }
    world.judge("broker: kill -9 of nats-server, and its start", runs, slowest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_restarted() {
    let mut world = World::start().await;
    let (mut slowest, runs) = (Duration::ZERO, runs());
    for _ in 0..runs {
        world.nats.stop();
        world.nats.start_again();
        slowest = slowest.max(world.some_more().await);
    }
    world.judge("broker: SIGTERM to nats-server, and its start", runs, slowest).await;
}

/// The line is bad for so long, in these ways in turn, and then good again.
async fn bad_line(fault: &str, lines: &[Line], lasts: Duration) {
    let world = World::start().await;
    let (mut slowest, runs) = (Duration::ZERO, runs());
    for line in lines.iter().cycle().take(runs) {
        let harmed = world.line.harmed();
        world.line.become_line(*line);
        tokio::time::sleep(lasts).await; // The length of the fault; nothing is waited for.
        assert!(harmed < world.line.harmed(), "{fault}: {line:?} has harmed nothing");
        world.line.become_line(Line::Good);
        slowest = slowest.max(world.some_more().await);
    }
    println!("{fault}: {} pieces cut, lost or late", world.line.harmed());
    world.judge(fault, runs, slowest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_cut_after_so_many_bytes() {
    let lines = [Line::CutAfter(20_000), Line::CutAfter(4_001), Line::CutAfter(1_777)];
    bad_line("network: connections cut after N bytes, 20,000 to 1,777", &lines, Duration::from_secs(2)).await;
}

/// The handshake and a few messages get through; what is cut is cut in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_part() {
    let lines = [Line::CutAfter(500), Line::CutAfter(633), Line::CutAfter(1_200)];
    bad_line("network: part of an answer: cut in the first messages", &lines, Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_is_slow() {
    bad_line(
        "network: 300 ms for every piece, both ways",
        &[Line::Slow(Duration::from_millis(300))],
        Duration::from_secs(3),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_half_open() {
    bad_line("network: half-open: nothing gets through, nobody is told", &[Line::Dead], Duration::from_secs(3)).await;
}

/// Everything that is said is heard twice by the server: commands, pulls, replies and acknowledgements.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_doubled() {
    let world = World::start().await;
    let (mut slowest, runs) = (Duration::ZERO, runs());
    for _ in 0..runs {
        world.line.become_line(Line::CutAfter(0)); // Those that are there end, and the next ones are doubled.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let harmed = world.line.harmed();
        world.line.become_line(Line::Doubled);
        slowest = slowest.max(world.some_more().await);
        assert!(harmed < world.line.harmed(), "nothing was doubled");
    }
    world.judge("network: every connection doubled", runs, slowest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_commands_is_deleted() {
    let world = World::start().await;
    let context = jetstream::new(world.nats.client().await);
    let (mut slowest, runs) = (Duration::ZERO, runs());
    for _ in 0..runs {
        context.delete_stream("COMMANDS").await.unwrap();
        slowest = slowest.max(world.some_more().await);
    }
    world.judge("broker: stream COMMANDS deleted, and made again", runs, slowest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consumer_is_deleted() {
    let world = World::start().await;
    let context = jetstream::new(world.nats.client().await);
    let (mut slowest, runs) = (Duration::ZERO, runs());
    for _ in 0..runs {
        context.delete_consumer_from_stream("processor-0", "COMMANDS").await.unwrap();
        slowest = slowest.max(world.some_more().await);
    }
    world.judge("broker: consumer deleted, and made again", runs, slowest).await;
}
