//! Many commands, from a file.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::Value;

use crate::hapax::{Transcript, code, hapax, run, stderr, stdout};
use crate::{Site, assert_snapshot};

const COMMANDS: &str = r#"{"aggregate":"account","key":"1","command":"open","data":{"owner":"ann"}}
{"aggregate":"account","key":"2","command":"open","data":{"owner":"bob"},"expected_version":0}

{"aggregate":"account","key":"1","command":"deposit","data":{"amount":5}}
{"aggregate":"account","key":"2","command":"withdraw","data":{"amount":5}}
{"aggregate":"account","key":"2","command":"withdraw","data":{"amount":6}}
{"aggregate":"account","key":"1","command":"close"}
{"aggregate":"account","key":"1","command":"burn"}
"#;

#[test]
fn a_file_of_commands_is_sent_and_sent_again() {
    let site = Site::start();
    let file = site.write("commands.jsonl", COMMANDS);
    let mut say = Transcript::new(&site.nats.url());
    say.ask(&["send", "--file", &file]);
    say.ask(&["send", "--file", &file, "--id-from", "line", "--window", "1"]);
    let again = say.ask(&["send", "--file", &file, "--id-from", "line", "--window", "1", "--json"]);
    let outcomes: Vec<Value> = stdout(&again).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        outcomes.iter().map(|outcome| outcome["line"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 2, 4, 5, 6, 7, 8]
    );
    let replayed = outcomes.iter().filter(|outcome| outcome["replayed"] == true).count();
    assert_eq!(replayed, 6, "what was refused was not decided");
    assert_snapshot("cli__send_file", &say.text());
}

#[test]
fn a_wrong_line_ends_the_reading() {
    let site = Site::start();
    let file = site.write("commands.jsonl", &COMMANDS.replacen("expected_version", "expected_verison", 1));
    let mut say = Transcript::new(&site.nats.url());
    let output = say.ask(&["send", "--file", &file, "--id-from", "content"]);
    assert_eq!(code(&output), 2);
    say.ask(&["state", "account/1"]);
    assert_snapshot("cli__send_file_wrong_line", &say.text());
}

#[test]
fn a_wrong_first_line_has_no_summary() {
    let site = Site::start();
    let mut say = Transcript::new(&site.nats.url());
    for content in [&b"\n{\"id\":null}\n"[..], b"{x\n", b"\xff\n", b""] {
        let file = site.write("commands.jsonl", "");
        fs::write(&file, content).unwrap();
        say.ask(&["send", "--file", &file]);
    }
    assert_snapshot("cli__send_file_wrong_first_line", &say.text());
}

/// A line of 300 MB took twice as much memory before it was refused.
#[test]
fn a_line_that_is_no_command_is_not_read_whole() {
    let site = Site::start();
    let mut child = hapax(&["send", "--file", "-", "--server", &site.nats.url()]);
    let mut child = child.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It has enough of it long before the end. A pipe that nobody reads fails.
    let part = vec![b' '; 1 << 20];
    let taken = (0..300).take_while(|_| std::io::Write::write_all(&mut stdin, &part).is_ok()).count();
    assert!(taken < 10, "{taken} MiB were read");
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("line 1 of stdin: longer than 524288 bytes"), "{}", stderr(&output));
}

#[test]
fn an_id_means_one_command() {
    let site = Site::start();
    let line = |id: &str, key: &str, data: &str| {
        format!(r#"{{"id":"deposit-{id:0>12}","aggregate":"account","key":"{key}","command":"open","data":{data}}}"#)
    };
    let (ann, again, bob) = (r#"{"owner":"ann"}"#, r#"{ "owner": "a\u006en" }"#, r#"{"owner":"bob"}"#);
    // The same with other bytes is no other command; by another key it is another id.
    let fine = [line("1", "1", ann), line("1", "1", again), line("1", "2", bob), line("2", "2", bob)].join("\n");
    let fine = site.write("fine.jsonl", &fine);
    let send = |file: &str| run(&["send", "--file", file, "--window", "1", "--server", &site.nats.url()]);
    let sent = send(&fine);
    assert_eq!(code(&sent), 3, "account 2 is opened once: {}", stderr(&sent));
    let twice = [line("3", "3", ann), line("4", "4", ann), line("3", "3", bob), line("5", "5", ann)].join("\n");
    let twice = site.write("twice.jsonl", &twice);
    let sent = send(&twice);
    assert_eq!(code(&sent), 2);
    let said = "line 3 of ";
    assert!(stderr(&sent).contains(said), "{}", stderr(&sent));
    assert!(stderr(&sent).contains("id: line 1 has deposit-000000000003 for another command"), "{}", stderr(&sent));
    assert!(stdout(&sent).contains("accepted  2"), "{}", stdout(&sent));
}

#[test]
fn stdin_is_a_file_too() {
    let site = Site::start();
    let file = site.write("commands.jsonl", COMMANDS);
    let url = site.nats.url();
    let from_stdin = |more: &[&str]| {
        let arguments = [&["send", "--file", "-", "--id-from", "line", "--server", &url], more].concat();
        hapax(&arguments).stdin(fs::File::open(&file).unwrap()).output().unwrap()
    };
    let nameless = from_stdin(&[]);
    assert_eq!(code(&nameless), 2);
    assert!(stderr(&nameless).contains("need a --source"), "{}", stderr(&nameless));
    let named = from_stdin(&["--source", "commands.jsonl", "--window", "1"]);
    assert!(stdout(&named).contains("accepted  3"), "{}{}", stdout(&named), stderr(&named));
    let again = run(&["send", "--file", &file, "--id-from", "line", "--window", "1", "--server", &url]);
    assert!(stdout(&again).contains("replayed  6"), "the same ids: {}", stdout(&again));
}

/// `send --file … --json | head -1` ended well after some hundred of three thousand lines, and said nothing.
#[test]
fn outcomes_that_nobody_reads_are_a_failure() {
    let site = Site::start();
    let mut text = String::new();
    for key in 0..3_000 {
        let data = r#"{"owner":"ann"}"#;
        writeln!(text, r#"{{"aggregate":"account","key":"{key}","command":"open","data":{data}}}"#).unwrap();
    }
    let file = site.write("commands.jsonl", &text);
    let send = ["send", "--file", &file, "--id-from", "line", "--window", "8", "--server", &site.nats.url()];
    let mut child = hapax(&[&send[..], &["--json"]].concat());
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    let (_, settled) = said.split_once("error: nobody reads the outcomes any more: ").unwrap();
    let settled: u32 = settled.split(' ').next().unwrap().parse().unwrap();
    assert!((1..3_000).contains(&settled), "{said}");
    // Whoever does not read the summary still learns how it ended.
    let mut child = hapax(&send).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let unread = |arguments: &[&str]| {
        let mut child = hapax(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        child.wait().unwrap().code()
    };
    let rejected = ["send", "account/0", "withdraw", r#"{"amount":1}"#, "--server", &site.nats.url()];
    assert_eq!(unread(&rejected), Some(3));
}
