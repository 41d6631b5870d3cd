//! Everything on one machine, for a try.

use std::fs;
use std::path::Path;

use crate::OPEN;
use crate::hapax::{Running, code, hapax, run, send_signal, stderr, stdout, until_ended};

/// A number behind a word at the beginning of a line.
fn number_behind(line: &str, word: &str) -> u32 {
    let rest = &line[line.find(word).unwrap() + word.len()..];
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn dev_runs_everything_and_starts_a_killed_processor_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let dev = || Running::start(hapax(&["dev", "--port", "0", "--data"]).arg(&data));
    let mut running = dev();
    let server_line = running.until("nats-server pid");
    let server = number_behind(&server_line, "nats-server pid ");
    let url = server_line.split_whitespace().find(|word| word.starts_with("nats://")).unwrap();
    let url = url.trim_end_matches(',').to_owned();
    let processor = number_behind(&running.until("processor pid"), "processor pid ");
    running.until("Ctrl-c stops");
    let send = ["send", "account/42", "open", OPEN, "--id", "open-account-42-00", "--json", "--server", &url];
    let before = run(&send);
    assert_eq!(code(&before), 0, "{}", stderr(&before));

    send_signal(processor, "KILL");
    let second = number_behind(&running.until("processor pid"), "processor pid ");
    assert_ne!(second, processor);
    running.until("ready");
    assert_eq!(stdout(&run(&send)), stdout(&before));

    let port = url.rsplit(':').next().unwrap();
    let other = folder.path().join("other").display().to_string();
    let taken = run(&["dev", "--port", port, "--data", &other]);
    assert_eq!(code(&taken), 1);
    assert!(stderr(&taken).contains(&format!("port {port} is in use")), "{}", stderr(&taken));

    running.stop();
    for pid in [server, second] {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is still there");
    }
    // A second start goes on where the first stopped.
    let mut running = dev();
    let line = running.until("nats-server pid");
    let url =
        line.split_whitespace().find(|word| word.starts_with("nats://")).unwrap().trim_end_matches(',').to_owned();
    running.until("ready");
    let again = run(&["send", "account/42", "open", OPEN, "--id", "open-account-42-00", "--json", "--server", &url]);
    assert_eq!(stdout(&again), stdout(&before));
    running.stop();
}

/// A second nats-server on the files of a running one went unnoticed until the next start, which found damage. And a
/// `dev` that was killed left both its children behind: the server now says whose the folder is, the processor stops.
#[test]
fn dev_shares_its_folder_with_no_other_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let dev = ["dev", "--port", "0", "--data", &data];
    let mut running = Running::start(&mut hapax(&dev));
    let server = number_behind(&running.until("nats-server pid"), "nats-server pid ");
    let processor = number_behind(&running.until("processor pid"), "processor pid ");
    running.until("ready");
    let named = format!("a nats-server still runs on {data}/nats (pid {server})");
    let refused = || {
        let second = run(&dev);
        assert_eq!(code(&second), 1);
        assert!(stderr(&second).contains(&named), "{}", stderr(&second));
    };
    refused();
    running.signal("KILL");
    assert!(!running.wait().success());
    until_ended(processor);
    refused();
    send_signal(server, "TERM"); // As the message says.
    until_ended(server);
    let mut running = Running::start(&mut hapax(&dev));
    running.until("ready");
    running.stop();
}

#[test]
fn dev_ends_when_its_server_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(hapax(&["dev", "--port", "0", "--data"]).arg(folder.path().join("data")));
    let server = number_behind(&running.until("nats-server pid"), "nats-server pid ");
    let processor = number_behind(&running.until("processor pid"), "processor pid ");
    running.until("ready");
    send_signal(server, "KILL");
    assert_eq!(running.wait().code(), Some(1));
    assert!(!Path::new(&format!("/proc/{processor}")).exists(), "the processor is still there");
}

/// What the refusal says can be done with `dev` too.
#[test]
fn dev_makes_a_lost_feed_anew_once_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let dev = |feed: &[&str]| Running::start(hapax(&["dev", "--port", "0", "--data"]).arg(&data).args(feed));
    let mut running = dev(&[]);
    running.until("ready");
    running.stop();
    fs::remove_dir_all(data.join("nats/jetstream/$G/streams/EVENTS_0")).unwrap();
    let refused = hapax(&["dev", "--port", "0", "--data"]).arg(&data).output().unwrap();
    assert!(code(&refused) == 1 && stderr(&refused).contains("with --feed anew"), "{}", stderr(&refused));
    let mut running = dev(&["--feed", "anew"]);
    running.until("ready");
    running.stop();
    let mut running = dev(&[]);
    running.until("ready");
    running.stop();
}
