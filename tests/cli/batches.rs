//! Many commands in few messages: each for itself, or all or none.

use std::process::Output;
use std::time::{Duration, Instant};

use std::fmt::Write as _;

use crate::hapax::{Running, Transcript, code, run, stderr, stdout};
use crate::{Site, assert_snapshot};

fn line(id: &str, key: &str, command: &str, data: &str) -> String {
    let id = format!("{id:0>16}");
    format!(r#"{{"id":"{id}","aggregate":"account","key":"{key}","command":"{command}","data":{data}}}"#)
}

fn check(key: &str, version: u64) -> String {
    format!(r#"{{"check":{{"aggregate":"account","key":"{key}","version":{version}}}}}"#)
}

fn opens(count: u64) -> String {
    let mut text = String::new();
    for number in 0..count {
        writeln!(text, "{}", line(&number.to_string(), &number.to_string(), "open", r#"{"owner":"ann"}"#)).unwrap();
    }
    text
}

#[test]
fn a_file_is_sent_in_batches() {
    let site = Site::start();
    let file = site.write("commands.jsonl", &format!("{}\n{}\n", opens(1_000), line("x", "0", "burn", "{}")));
    let url = site.nats.url();
    let send = |more: &[&str]| run(&[&["send", "--file", &file, "--server", &url], more].concat());
    let sent = send(&["--batch", "100", "--window", "4"]);
    assert_eq!(code(&sent), 1, "{}", stderr(&sent));
    assert!(stderr(&sent).contains("line 1002: command 000000000000000x was refused"), "{}", stderr(&sent));
    assert!(stdout(&sent).contains("accepted  1000\n"), "{}", stdout(&sent));
    // Health is some milliseconds older than the answers.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let health = run(&["health", "--json", "--server", &url]);
        if stdout(&health).contains(r#""decided":1000"#) {
            break;
        }
        assert!(Instant::now() < deadline, "{}", stdout(&health));
    }
    let again = send(&["--batch", "1000", "--json"]);
    let one_by_one = send(&["--window", "1", "--json"]);
    // Each as soon as it is settled, and the second batch may be settled first.
    let sorted = |output: &Output| {
        let mut lines: Vec<String> = stdout(output).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&again), sorted(&one_by_one), "the same bytes, all of them replayed");
}

/// Told or not, how many partitions there are.
#[test]
fn a_file_is_sent_in_batches_to_partitions() {
    let nats = crate::common::nats::NatsServer::start();
    let folder = tempfile::tempdir().unwrap();
    let processor = Running::serve_with(&nats.url(), &folder.path().join("data"), &["--partitions", "3"]);
    let file = folder.path().join("commands.jsonl");
    std::fs::write(&file, opens(300)).unwrap();
    let url = nats.url();
    for partitions in ["3", "1"] {
        let file = file.to_str().unwrap();
        let sent = run(&["send", "--file", file, "--server", &url, "--batch", "50", "--partitions", partitions]);
        assert!(stdout(&sent).contains("accepted  300\n"), "{}{}", stdout(&sent), stderr(&sent));
    }
    processor.stop();
}

#[test]
fn a_file_is_decided_as_one() {
    let site = Site::start();
    let mut say = Transcript::new(&site.nats.url());
    let (ann, much) = (r#"{"owner":"ann"}"#, r#"{"amount":7}"#);
    let ask = |say: &mut Transcript, lines: &[String], more: &[&str]| {
        let file = site.write("commands.jsonl", &lines.join("\n"));
        code(&say.ask(&[&["send", "--atomic", "--file", &file], more].concat()))
    };
    let open = [line("1", "1", "open", ann), String::new(), line("2", "2", "open", ann), check("3", 0)];
    assert_eq!(ask(&mut say, &open, &[]), 0);
    assert_eq!(ask(&mut say, &open, &["--json"]), 0, "the same batch");
    let poor = [line("3", "1", "deposit", much), line("4", "2", "withdraw", much), line("5", "1", "open", ann)];
    assert_eq!(ask(&mut say, &poor, &[]), 3);
    let stale = [line("6", "1", "deposit", much), check("2", 9)];
    assert_eq!(ask(&mut say, &stale, &[]), 4);
    let reused = [line("1", "1", "deposit", much)];
    assert_eq!(ask(&mut say, &reused, &[]), 4);
    assert_eq!(ask(&mut say, &[line("7", "1", "burn", much)], &["--json"]), 1);
    say.ask(&["state", "account/1"]);
    let (batch, given_up) =
        (stdout(&say.ask(&["outcome", "_batch/1", "no-such-batch-000"])).to_owned(), "given-up-batch-00");
    assert_eq!(batch, "");
    assert_eq!(code(&say.ask(&["void", "_batch/1", given_up])), 3);
    say.ask(&["outcome", "_batch/1", given_up, "--json"]);
    assert_snapshot("cli__send_atomic", &say.text());
}

/// What came of a batch can be asked for, and its void brings it.
#[test]
fn a_batch_is_asked_for_by_its_id() {
    let site = Site::start();
    let url = site.nats.url();
    let file = site.write("commands.jsonl", &format!("{}{}", opens(3), check("1", 1)));
    let send = ["send", "--atomic", "--file", &file, "--json", "--server", &url];
    let sent = run(&send);
    assert_eq!(code(&sent), 0, "{}", stderr(&sent));
    let id = stderr(&sent).strip_prefix("id ").unwrap().trim();
    for ask in ["outcome", "void"] {
        let told = run(&[ask, "_batch/0", id, "--json", "--server", &url]);
        assert_eq!((code(&told), stdout(&told)), (0, stdout(&sent)), "{}", stderr(&told));
    }
    let told = run(&["outcome", "_batch/0", id, "--server", &url]);
    assert!(stdout(&told).contains("commands  3\nchecks    1\n"), "{}", stdout(&told));
}

#[test]
fn what_cannot_be_decided_as_one() {
    let site = Site::start();
    let mut say = Transcript::new(&site.nats.url());
    let open = line("1", "1", "open", r#"{"owner":"ann"}"#);
    let check = check("2", 0);
    for text in [
        String::new(),
        check.clone(),
        format!("{open}\n{open}"),
        format!("{open}\n\n{}", check.replace("version", "versoin")),
        format!("{open}\n{}", check.replace(r#","version":0"#, "")),
        format!("{open}\n{}", check.replace("account", "a b")),
        format!("{open}\n{{"),
        opens(1_000),
    ] {
        let file = site.write("commands.jsonl", &text);
        assert_eq!(code(&say.ask(&["send", "--atomic", "--file", &file])), 2, "{text}");
    }
    let file = site.write("commands.jsonl", &format!("{open}\n{check}"));
    assert_eq!(code(&say.ask(&["send", "--file", &file])), 2, "a check is no command");
    for arguments in [
        &["send", "--atomic"][..],
        &["send", "--batch", "5", "account/1", "close"],
        &["send", "--window", "5", "account/1", "close"],
        &["send", "--id-from", "line", "account/1", "close"],
        &["send", "--file", &file, "--atomic", "--batch", "5"],
        &["send", "--file", &file, "--atomic", "--window", "5"],
        &["send", "--file", &file, "--batch", "1001"],
        &["send", "--file", &file, "--partitions", "2"],
    ] {
        assert_eq!(code(&say.ask(arguments)), 2);
    }
    assert_snapshot("cli__send_batch_wrong", &say.text());
}
