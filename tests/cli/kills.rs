//! A file whose sending was killed is simply sent again: after a hundred kills at random points of ten thousand lines the
//! store holds what one clean run leaves, command by command.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use ::hapax::store::CommitReader;
use ::hapax::store::file::FileReader;
use ::hapax::{Outcome, Position};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::common::nats::NatsServer;
use crate::hapax::{Running, code, hapax as command, stderr};

const LINES: usize = 10_000;
const KILLS: usize = 100;

#[test]
fn a_hundred_kills_leave_what_one_clean_run_leaves() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("commands.jsonl");
    fs::write(&file, lines(&mut random)).unwrap();

    let (clean, killed) = (folder.path().join("clean"), folder.path().join("killed"));
    with_processor(&clean, |url| send_to_the_end(url, &file));
    with_processor(&killed, |url| {
        let mut were_running = 0;
        for _ in 0..KILLS {
            let mut sending = send(url, &file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(Duration::from_millis(random.gen_range(0..250))); // The point of the kill.
            were_running += usize::from(sending.try_wait().unwrap().is_none());
            sending.kill().unwrap();
            sending.wait().unwrap();
        }
        assert!(were_running > KILLS / 2, "only {were_running} of {KILLS} kills hit a sender that ran");
        send_to_the_end(url, &file);
    });
    let (clean, killed) = (recorded(&clean), recorded(&killed));
    assert_eq!(clean.len(), LINES);
    assert_eq!(clean, killed);
}

/// Deposits and withdrawals on ten accounts, without ids; many withdrawals are too large. The order counts.
fn lines(random: &mut StdRng) -> String {
    let mut text = String::new();
    for line in 0..LINES {
        let key = line % 10;
        let (name, data) = match (line / 10, random.gen_bool(0.5)) {
            (0, _) => ("open", format!(r#"{{"owner":"owner {key}"}}"#)),
            (_, true) => ("deposit", format!(r#"{{"amount":{}}}"#, random.gen_range(1..100))),
            (_, false) => ("withdraw", format!(r#"{{"amount":{}}}"#, random.gen_range(1..200))),
        };
        writeln!(text, r#"{{"aggregate":"account","key":"{key}","command":"{name}","data":{data}}}"#).unwrap();
    }
    text
}

fn with_processor(data: &Path, sending: impl FnOnce(&str)) {
    let nats = NatsServer::start();
    let processor = Running::serve(&nats.url(), data);
    sending(&nats.url());
    processor.stop();
}

fn send(url: &str, file: &Path) -> std::process::Command {
    let mut command = command(&["send", "--window", "64", "--id-from", "line", "--source", "a-file", "--file"]);
    command.arg(file).env("NATS_URL", url).env("HAPAX_PRINCIPAL", "alice");
    command
}

fn send_to_the_end(url: &str, file: &Path) {
    let sent = send(url, file).output().unwrap();
    assert_eq!(code(&sent), 3, "some withdrawals are rejected: {}", stderr(&sent));
}

/// Each command with its outcome but for the time, in the order of decisions.
fn recorded(data: &Path) -> Vec<(Position, String)> {
    let reader = FileReader::open_read_only(&data.join("p0/journal")).unwrap();
    let commits = reader.read(Position::FIRST).map(|commit| commit.unwrap());
    let outcomes = commits.map(|commit| {
        let Outcome { id, aggregate, version, position, decision, .. } = commit.outcome().unwrap();
        (position, format!("{id} {aggregate} {version} {decision:?}"))
    });
    outcomes.collect()
}
