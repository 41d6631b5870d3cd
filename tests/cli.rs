//! The command line as its users see it: what it prints, and how it ends.

mod common;
#[path = "cli/hapax.rs"]
mod hapax;
#[path = "cli/dev.rs"]
mod dev;
#[path = "cli/send_file.rs"]
mod send_file;
#[path = "cli/batches.rs"]
mod batches;
#[path = "cli/kills.rs"]
mod kills;
#[path = "cli/quarantine.rs"]
mod quarantine;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/projections.rs"]
mod projections;
#[path = "cli/reading.rs"]
mod reading;
#[path = "cli/verify.rs"]
mod verify;
#[path = "cli/whole.rs"]
mod whole;
#[path = "cli/why.rs"]
mod why;
#[path = "cli/points.rs"]
mod points;
#[path = "cli/bars.rs"]
mod bars;
#[path = "cli/imports.rs"]
mod imports;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

use common::folder::copy_folder;
use common::nats::NatsServer;
use common::shown::{self, assert_shown};
use hapax::{Running, Transcript, code, hapax, run, stderr, stdout};
use serde_json::Value;
use tempfile::TempDir;

const OPEN: &str = r#"{"owner":"ann"}"#;

/// Compares with a snapshot; what differs from run to run is replaced.
fn assert_snapshot(name: &str, text: &str) {
    let mut settings = shown::settings();
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "[time]");
    settings.add_filter(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "[uuid]");
    settings.add_filter(r"\b[0-9a-f]{64}\b", "[hash]");
    settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:[port]");
    settings.add_filter(r"/\S*/(?<file>data|commands\.jsonl)\b", "[folder]/$file");
    // Whether a copy that comes soon after another reaches the processor is up to the stream.
    settings.add_filter(r"replayed     \d+", "replayed     [count]");
    // How far behind the feed is in that moment, too.
    settings.add_filter(r"unfed        \d+", "unfed        [count]");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// A server, a processor and its data.
struct Site {
    processor: Option<Running>, // Dropped first: without its server it would wait for it to say good-bye.
    nats: NatsServer,
    folder: TempDir,
}

impl Site {
    fn start() -> Site {
        let (nats, folder) = (NatsServer::start(), tempfile::tempdir().unwrap());
        let processor = Some(Running::serve(&nats.url(), &folder.path().join("data")));
        Site { processor, nats, folder }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn data_text(&self) -> String {
        self.data().display().to_string()
    }

    fn stop_processor(&mut self) {
        self.processor.take().unwrap().stop();
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

#[test]
fn help() {
    assert_shown("cli__help", stdout(&run(&["--help"])));
    let subcommands = [
        "dev",
        "serve",
        "send",
        "outcome",
        "void",
        "state",
        "replay",
        "project",
        "ask",
        "why",
        "verify",
        "restore",
        "export",
        "import",
        "health",
        "quarantine",
        "quarantine list",
        "quarantine show",
        "quarantine retry",
        "quarantine drop",
        "bench",
        "completions",
    ];
    for subcommand in subcommands {
        let output = run(&subcommand.split(' ').chain(["--help"]).collect::<Vec<_>>());
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains("Example"), "{subcommand} --help has no example");
        assert_shown(&format!("cli__help_{}", subcommand.replace(' ', "_")), stdout(&output));
    }
}

#[test]
fn version_names_the_formats() {
    assert_snapshot("cli__version", stdout(&run(&["--version"])));
}

/// The program of a service has a version of its own.
#[test]
fn version_of_another_program_is_not_ours() {
    use std::os::unix::process::CommandExt;
    let output = hapax(&["--version"]).arg0("/opt/stock").output().unwrap();
    let first = format!("stock, with hapax {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(stdout(&output).lines().next(), Some(&*first));
}

#[test]
fn completions_are_for_this_program() {
    let output = run(&["completions", "bash"]);
    assert!(stdout(&output).contains("hapax__subcmd__send") || stdout(&output).contains("hapax__send"));
}

#[test]
fn a_command_and_all_that_can_be_asked_about_it() {
    let mut site = Site::start();
    let data = site.data_text();
    let mut say = Transcript::new(&site.nats.url());
    let opened = say.ask(&["send", "account/42", "open", OPEN, "--id", "open-account-42-00"]);
    let again = say.ask(&["send", "account/42", "open", OPEN, "--id", "open-account-42-00"]);
    assert_eq!((code(&opened), code(&again)), (0, 0));
    say.ask(&["send", "account/42", "open", r#"{"owner":"bob"}"#, "--id", "open-account-42-00"]);
    say.ask(&["send", "account/42", "withdraw", r#"{"amount":7}"#]);
    say.ask(&["send", "account/42", "deposit", r#"{"amount":7}"#, "--expect", "5"]);
    say.ask(&[
        "send",
        "account/42",
        "deposit",
        r#"{"amount":7}"#,
        "--expect",
        "1",
        "--id",
        "deposit-000000001",
        "--json",
    ]);
    say.ask(&["send", "account/42", "close", "--not-after", "2020-01-01T00:00:00Z"]);
    say.ask(&["send", "account/42", "destroy"]);
    say.ask(&["send", "account/42", "deposit", r#"{"amount":"much"}"#]);
    say.ask(&["outcome", "account/42", "deposit-000000001"]);
    say.ask(&["outcome", "account/42", "deposit-000000002"]);
    say.ask(&["outcome", "account/42", "deposit-000000002", "--json"]);
    say.ask(&["void", "account/42", "deposit-000000002"]);
    say.ask(&["void", "account/42", "deposit-000000001", "--json"]);
    say.ask(&["send", "account/42", "deposit", r#"{"amount":9}"#, "--id", "deposit-000000002", "--json"]);
    say.ask(&["state", "account/42"]);
    say.ask(&["state", "account/42", "--at-version", "1", "--json"]);
    say.ask(&["state", "account/42", "--at-position", "1"]);
    say.ask(&["state", "account/42", "--at-position", "99"]);
    say.ask(&["state", "account/42", "--at-version", "3"]);
    say.ask(&["state", "account/42", "--at-time", "2020-01-01T00:00:00Z", "--json"]);
    say.ask(&["state", "account/42", "--at-version", "1", "--diff", "@4"]);
    say.ask(&["state", "account/43"]);
    say.ask(&["state", "acount/43"]);
    say.ask(&["health"]);
    say.ask(&["verify", "--data", &data]);
    site.stop_processor();
    say.ask(&["health", "--timeout", "1s"]);
    say.ask(&["verify", "--data", &data]);
    say.ask(&["replay", "--data", &data]);
    say.ask(&["replay", "account/42", "--data", &data, "--from", "2", "--to", "2", "--json"]);
    say.ask(&["replay", "account/43", "--data", &data]);
    assert_snapshot("cli__story", &say.text());
}

/// Both copies of one command print the same bytes, which are those that were sent.
#[test]
fn json_is_the_outcome_as_it_came() {
    let site = Site::start();
    let url = site.nats.url();
    let send = ["send", "account/1", "open", OPEN, "--id", "open-account-1-000", "--json", "--server", &url];
    let (first, second) = (run(&send), run(&send));
    assert_eq!(stdout(&first), stdout(&second));
    assert_eq!(stdout(&first).lines().count(), 1);
    let ask = ["outcome", "account/1", "open-account-1-000", "--json", "--server", &url];
    // Its principal is another one than that of the sender.
    let foreign = run(&[&ask[..], &["--principal", "bob"]].concat());
    assert_eq!((code(&run(&ask)), stdout(&run(&ask))), (0, stdout(&first)));
    assert_eq!(code(&foreign), 5);
}

#[test]
fn what_cannot_be_understood() {
    let mut say = Transcript::new("nats://127.0.0.1:1");
    for arguments in [
        &["send"][..],
        &["send", "account"],
        &["send", "account/42", "deposit", "{amount:1}"],
        &["send", "account/42", "deposit", "--id", "short"],
        &["send", "account/42", "deposit", "--file", "x"],
        &["send", "--file", "x", "--id-from", "number"],
        &["send", "account/42", "deposit", "--not-after", "tomorrow"],
        &["state", "account/42", "--at-version", "1", "--at-position", "1"],
        &["state", "account/42", "--timeout", "5"],
        &["state", "account/42", "--context", "nowhere"],
        &["replay", "--from", "0"],
    ] {
        assert_eq!(code(&say.ask(arguments)), 2, "{arguments:?}");
    }
    assert_snapshot("cli__usage_errors", &say.text());
}

#[test]
fn no_server_is_seven() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("nats://127.0.0.1:{port}");
    for arguments in [&["send", "account/42", "close"][..], &["state", "account/42"], &["health"]] {
        let output = run(&[arguments, &["--server", &url]].concat());
        assert_eq!(code(&output), 7, "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(&port.to_string()));
    }
}

/// Nobody takes the command, and nobody can say that nobody ever will.
#[test]
fn no_processor_is_unknown() {
    let nats = NatsServer::start();
    let mut say = Transcript::new(&nats.url());
    let sent = say.ask(&["send", "account/42", "close", "--id", "close-account-42-0", "--timeout", "1s"]);
    let asked = say.ask(&["outcome", "account/42", "close-account-42-0", "--timeout", "1s"]);
    assert_eq!((code(&sent), code(&asked)), (5, 5));
    assert_snapshot("cli__no_processor", &say.text());
}

/// Whoever presses ctrl-c learns how to go on.
#[test]
fn an_interrupted_command_is_unknown() {
    let nats = NatsServer::start();
    let send = ["send", "account/42", "close", "--id", "close-account-42-0", "--server", &nats.url()];
    let mut child = hapax(&send).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert_eq!(said, "id close-account-42-0\n");
    hapax::send_signal(child.id(), "INT");
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.contains("ask again: hapax outcome account/42 close-account-42-0 --server nats://"), "{said}");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn not_permitted_is_six() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("nats.conf");
    let users = r#"authorization { users = [ { user: alice, password: secret, permissions: {
        publish: "cmd.alice.>", subscribe: "_INBOX.alice.>" } } ] }"#;
    fs::write(&config, users).unwrap();
    let config: &'static str = Box::leak(config.display().to_string().into_boxed_str());
    let nats = NatsServer::start_with(Box::leak(Box::new(["-c", config])));
    let url = nats.url();
    let send = ["send", "account/42", "close", "--timeout", "5s", "--server", &url, "--user", "alice", "--password"];
    let wrong_password = run(&[&send[..], &["guess", "--principal", "alice"]].concat());
    assert_eq!(code(&wrong_password), 6, "{}", stderr(&wrong_password));
    let as_bob = run(&[&send[..], &["secret", "--principal", "bob"]].concat());
    assert_eq!(code(&as_bob), 6, "{}", stderr(&as_bob));
    let state = ["state", "account/42", "--timeout", "1s", "--server", &url, "--user", "alice", "--password", "secret"];
    let question = run(&[&state[..], &["--principal", "alice"]].concat());
    assert_eq!(code(&question), 6, "{}", stderr(&question));
}

#[test]
fn the_selected_context_is_used_unless_a_flag_says_otherwise() {
    let site = Site::start();
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join("nats/context")).unwrap();
    fs::write(home.path().join("nats/context.txt"), "here").unwrap();
    fs::write(home.path().join("nats/context/here.json"), format!(r#"{{"url":"{}"}}"#, site.nats.url())).unwrap();
    fs::write(home.path().join("nats/context/gone.json"), r#"{"url":"nats://127.0.0.1:1"}"#).unwrap();
    let health = |more: &[&str]| {
        code(&hapax(&[&["health"], more].concat()).env("XDG_CONFIG_HOME", home.path()).output().unwrap())
    };
    assert_eq!(health(&[]), 0);
    assert_eq!(health(&["--context", "gone"]), 7);
    assert_eq!(health(&["--server", "nats://127.0.0.1:1"]), 7);
    assert_eq!(health(&["--context", "gone", "--server", &site.nats.url()]), 0);
}

/// One bit of the first commit is wrong, and others follow: nobody may take it for the end of the journal.
#[test]
fn damage_is_eight() {
    let mut site = Site::start();
    let (data, url) = (site.data_text(), site.nats.url());
    for key in ["1", "2", "3"] {
        assert_eq!(code(&run(&["send", &format!("account/{key}"), "open", OPEN, "--server", &url])), 0);
    }
    site.stop_processor();
    let journal = site.data().join("p0/journal/00000000000000000001.log");
    let mut bytes = fs::read(&journal).unwrap();
    let place = find(&bytes, b"\"owner\"");
    bytes[place + 2] ^= 1;
    fs::write(&journal, bytes).unwrap();
    for arguments in [&["verify"][..], &["replay"], &["serve", "--server", &url]] {
        let output = run(&[arguments, &["--data", &data]].concat());
        assert_eq!(code(&output), 8, "{arguments:?}: {}", stderr(&output));
        let message = stderr(&output);
        assert!(message.contains("00000000000000000001.log") && message.contains("position 1"), "{message}");
        assert!(message.contains("byte "), "{message}");
    }
}

/// What a copy that left it out looks like. It may not be taken for an empty directory, nor for another program's.
#[test]
fn a_store_without_its_name_is_damage() {
    let mut site = Site::start();
    let (data, url) = (site.data_text(), site.nats.url());
    site.stop_processor();
    for broken in [None, Some("{}")] {
        match broken {
            None => fs::remove_file(site.data().join("hapax.json")).unwrap(),
            Some(text) => fs::write(site.data().join("hapax.json"), text).unwrap(),
        }
        for arguments in [&["verify"][..], &["replay"], &["serve", "--server", &url]] {
            let output = run(&[arguments, &["--data", &data]].concat());
            assert_eq!(code(&output), 8, "{arguments:?}: {}", stderr(&output));
            assert!(stderr(&output).contains("hapax.json"), "{}", stderr(&output));
        }
    }
    let foreign = site.folder.path().join("data/p0").display().to_string();
    assert_eq!(code(&run(&["serve", "--server", &url, "--data", &foreign])), 1, "no data directory at all");
}

/// The journal is whole and shorter than it was: only the index can tell.
#[test]
fn a_journal_that_lost_commits_is_damage() {
    let mut site = Site::start();
    let (data, url) = (site.data(), site.nats.url());
    assert_eq!(code(&run(&["send", "account/1", "open", OPEN, "--server", &url])), 0);
    site.stop_processor();
    let older = site.folder.path().join("older");
    copy_folder(&data.join("p0/journal"), &older);
    site.processor = Some(Running::serve(&url, &data));
    assert_eq!(code(&run(&["send", "account/2", "open", OPEN, "--server", &url])), 0);
    site.stop_processor();
    fs::remove_dir_all(data.join("p0/journal")).unwrap();
    copy_folder(&older, &data.join("p0/journal"));
    let output = run(&["verify", "--data", &site.data_text()]);
    assert_eq!(code(&output), 8, "{}", stderr(&output));
    let message = stderr(&output);
    assert!(message.contains("00000000000000000001.log at byte ") && message.contains("position 2"), "{message}");
}

/// One bit of hapax.json made the number of partitions 0. `serve` then served nothing and ended as if all were well, and
/// `verify` checked nothing and found nothing. There is no store without partitions. And one bit of a member's name said that
/// no journal and no feed were there yet.
#[test]
fn a_bit_of_hapax_json_is_damage() {
    let mut site = Site::start();
    site.stop_processor();
    let file = site.data().join("hapax.json");
    let text = fs::read_to_string(&file).unwrap();
    for (is, becomes) in [("partitions\":1", "partitions\":0"), ("begun", "begtn"), ("fed", "fee")] {
        assert!(text.contains(is), "{text}");
        fs::write(&file, text.replace(is, becomes)).unwrap();
        for arguments in [&["verify"][..], &["serve", "--server", &site.nats.url()]] {
            let output = run(&[arguments, &["--data", &site.data_text()]].concat());
            assert_eq!(code(&output), 8, "{arguments:?}: {}", stderr(&output));
            assert!(stderr(&output).contains("hapax.json is damaged"), "{}", stderr(&output));
        }
    }
}

#[test]
fn a_wrong_index_is_said_and_is_no_damage() {
    let mut site = Site::start();
    site.stop_processor();
    site.processor = Some(Running::serve(&site.nats.url(), &site.data()));
    assert_eq!(code(&run(&["send", "account/1", "open", OPEN, "--server", &site.nats.url()])), 0);
    site.stop_processor();
    fs::write(site.data().join("p0/checkpoint.json"), "{}").unwrap();
    let output = run(&["verify", "--json", "--data", &site.data_text()]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["index"], &said["commits"]), (&Value::from("wrong"), &Value::from(1)));
}

/// As for a user who may not write: that says nothing about the index.
#[test]
fn an_index_that_cannot_be_opened_is_left_out() {
    let mut site = Site::start();
    site.stop_processor();
    let lock = site.data().join("p0/index.lock");
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink("index.lock", &lock).unwrap(); // Not to be opened by anybody, not even by root.
    let verified = run(&["verify", "--data", &site.data_text()]);
    assert_eq!(code(&verified), 0, "{}", stderr(&verified));
    assert!(stdout(&verified).contains("left out, since it could not be checked: "), "{}", stdout(&verified));
}

#[test]
fn several_partitions_are_read_one_after_the_other() {
    let (nats, folder) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let (url, data) = (nats.url(), folder.path().join("data"));
    let processor = Running::serve_with(&url, &data, &["--partitions", "3"]);
    for key in ["1", "2", "3", "4"] {
        assert_eq!(code(&run(&["send", &format!("account/{key}"), "open", OPEN, "--server", &url])), 0);
    }
    processor.stop();
    let data = data.display().to_string();
    assert_snapshot("cli__replay_of_partitions", stdout(&run(&["replay", "--data", &data])));
    assert_eq!(stdout(&run(&["replay", "account/2", "--data", &data])).lines().count(), 1);
    assert_eq!(stdout(&run(&["verify", "--json", "--data", &data])).lines().count(), 3);
    let other = run(&["serve", "--server", &url, "--data", &data, "--partitions", "2"]);
    assert_eq!(code(&other), 1);
    assert!(stderr(&other).contains("has 3 partitions, not 2"), "{}", stderr(&other));
}

/// Whoever reads only the beginning of a replay gets no complaint.
#[test]
fn output_that_nobody_reads_is_no_failure() {
    let site = Site::start();
    let url = site.nats.url();
    assert_eq!(code(&run(&["send", "account/1", "open", OPEN, "--server", &url])), 0);
    let mut child = hapax(&["replay", "--data", &site.data_text()]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).position(|window| window == wanted).unwrap()
}
