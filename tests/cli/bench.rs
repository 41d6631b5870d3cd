//! `bench` with a load that is over at once: what it counts, and what it leaves alone. Never how fast anything is.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::common::nats::NatsServer;
use crate::hapax::{Running, code, run, stderr, stdout};

/// As short as it gets.
const SHORT: [&str; 8] = ["bench", "--seconds", "1", "--runs", "1", "--window", "16", "--json"];

fn rows(output: &Output) -> Vec<Value> {
    assert_eq!(code(output), 0, "{}", stderr(output));
    let report: Value = serde_json::from_str(stdout(output)).unwrap();
    report["rows"].as_array().unwrap().clone()
}

fn median(row: &Value, name: &str) -> Option<f64> {
    row["median"][name].as_f64()
}

/// What must be there whoever answers.
fn assert_measured(row: &Value) {
    let figure = |name: &str| median(row, name).unwrap_or_else(|| panic!("no {name}: {row}"));
    assert!(0.0 < figure("commands_per_second"), "{row}");
    assert!(0.0 < figure("p50_ms") && figure("p50_ms") <= figure("p99_ms"), "{row}");
    assert!(figure("p99_ms") <= figure("p99_9_ms"), "{row}");
    if cfg!(target_os = "linux") {
        assert!(0.0 < figure("resident_peak_mib"), "{row}");
        // One of them may have taken less than the clock of CPU time counts in, 10 ms.
        let taken = ["client", "broker", "processor"].map(|whose| figure(&format!("{whose}_cpu_seconds_per_million")));
        assert!(0.0 < taken.iter().sum(), "{row}");
    }
}

#[test]
fn bench_measures_everything() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("bench.svg").display().to_string();
    let data = folder.path().display().to_string();
    let more = ["--workload", "all", "--recorded", "1000", "--aggregates", "1000", "--svg", &picture, "--data", &data];
    let rows = rows(&run(&[&SHORT[..], &more].concat()));
    let names: Vec<&str> = rows.iter().map(|row| row["workload"].as_str().unwrap()).collect();
    let beside = ["floor", "single", "fed", "retries", "hot", "wide", "batches", "usual", "usual, pipelined"];
    let growing = ["empty, v7", "growth, v7, 1k", "empty, random", "growth, random, 1k"];
    let reading = ["parse", "parse, what is folded", "replay", "replay, whole commits"];
    assert_eq!(names, [&beside[..], &growing, &reading].concat());
    for (name, row) in names.into_iter().zip(&rows) {
        if reading.contains(&name) {
            assert!(median(row, "events_per_second") > Some(0.0), "{row}");
            assert_eq!(median(row, "share_of_compared").is_some(), name != "parse", "{row}");
            continue;
        }
        assert_measured(row);
        let has = |figure| median(row, figure).is_some();
        let is_grown = name.starts_with("growth");
        let is_base = name == "floor" || name.starts_with("empty");
        assert_eq!(has("share_of_floor"), name != "floor" && beside.contains(&name), "{name}");
        assert_eq!(has("p50_times_floor"), has("share_of_floor"), "{name}");
        assert_eq!(has("share_of_compared"), !is_base && name != "single", "{name}");
        assert_eq!(has("start_seconds"), is_grown || name.starts_with("empty"), "{name}");
        let recorded = has("start_seconds").then_some(if is_grown { 1_000.0 } else { 0.0 });
        assert_eq!(median(row, "recorded_at_the_start"), recorded, "{name}");
        let has_store = name != "floor" && !name.starts_with("usual");
        // What was recorded before is not recorded again.
        assert_eq!(has("commands_per_fsync"), has_store && name != "retries", "{name}");
        assert_eq!(has("index_bytes_per_command"), has_store, "{name}");
        assert!(!has_store || median(row, "journal_bytes_per_command") > Some(256.0), "{name}: bodies are in it");
    }
    assert!(fs::read_to_string(&picture).unwrap().starts_with("<svg"));
    let left: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["bench.svg"], "nothing else is left behind");
}

/// Whatever the machine: no more comes than is due.
#[test]
fn bench_keeps_to_a_rate() {
    let rows = rows(&run(&[&SHORT[..], &["--rate", "200"]].concat()));
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_measured(row);
        assert!(median(row, "commands_per_second") < Some(202.0), "{row}");
    }
}

/// On the server of a processor the echo would answer that one's commands, and lose them.
#[test]
fn bench_uses_a_server_that_nobody_uses() {
    let (nats, folder) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let bench = || run(&[&SHORT[..], &["--server", &nats.url()]].concat());
    for row in rows(&bench()) {
        assert!(median(&row, "share_of_floor").is_some() || row["workload"] == "floor", "{row}");
        assert_eq!(median(&row, "broker_cpu_seconds_per_million"), None, "it is none of ours");
    }
    // It has cleared up behind itself.
    let processor = Running::serve(&nats.url(), &folder.path().join("data"));
    let refused = bench();
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("has a stream COMMANDS already"), "{}", stderr(&refused));
    let health = run(&["health", "--server", &nats.url()]);
    assert_eq!(code(&health), 0, "{}", stdout(&health));
    processor.stop();
}

#[test]
fn bench_refuses_what_makes_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let within = |name: &str| folder.path().join(name).display().to_string();
    let (nowhere, no_folder) = (within("none"), within("none/bench.svg"));
    for (flag, value, exit) in [
        ("--window", "0", 2),
        ("--rate", "0", 2),
        ("--rate", "-1", 2),
        ("--rate", "NaN", 2),
        ("--rate", "1e300", 2),
        ("--seconds", "18446744073709551615", 2),
        ("--workload", "none", 2),
        ("--runs", "0", 2),
        ("--data", &nowhere, 2),
        ("--svg", &no_folder, 1),
        ("--server", "127.0.0.1:1,127.0.0.1:2", 2),
        ("--server", "127.0.0.1:1", 7),
    ] {
        let output = run(&["bench", flag, value]);
        assert_eq!(code(&output), exit, "{flag} {value}");
        assert!(stderr(&output).contains(flag) && stderr(&output).contains(value), "{flag}: {}", stderr(&output));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");
}

/// What cannot be measured costs nobody the picture of what was.
#[test]
fn bench_keeps_an_older_picture_until_there_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("bench.svg");
    fs::write(&picture, "older").unwrap();
    let output = run(&["bench", "--svg", &picture.display().to_string(), "--server", "127.0.0.1:1"]);
    assert_eq!(code(&output), 7, "{}", stderr(&output));
    assert!(stderr(&output).contains("127.0.0.1:1"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&picture).unwrap(), "older");
}
