//! A projection from the terminal.

use crate::common::nats::NatsServer;
use crate::hapax::{Running, Transcript, code, hapax, run, stderr};
use crate::{OPEN, Site, assert_snapshot};

/// Asks until everything that was decided is folded: commits come to the feed, and from there, a moment later.
fn until_folded(site: &Site, commits: u64) {
    let lag = ["ask", "balances", "--json", "--server", &site.nats.url()];
    let folded = format!(r#""position":{commits},"#);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !String::from_utf8(run(&lag).stdout).unwrap().contains(&folded) {
        assert!(std::time::Instant::now() < deadline, "{commits} commits are not folded");
    }
}

#[test]
fn balances_by_owner() {
    let site = Site::start();
    let url = site.nats.url();
    for (to, command, body) in [
        ("account/41", "open", OPEN),
        ("account/42", "open", OPEN),
        ("account/43", "open", r#"{"owner":"bob"}"#),
        ("account/41", "deposit", r#"{"amount":70}"#),
        ("account/42", "deposit", r#"{"amount":30}"#),
        ("account/43", "deposit", r#"{"amount":9}"#),
    ] {
        assert_eq!(code(&run(&["send", to, command, body, "--server", &url])), 0);
    }
    let kept = site.folder.path().join("projections/data").display().to_string();
    let start = |more: &[&str]| {
        let mut command = hapax(&["project", "balances", "--data", &kept, "--server", &url]);
        let mut running = Running::start(command.args(more));
        let ready = running.until("ready");
        (running, ready)
    };
    let (projecting, _) = start(&[]);
    until_folded(&site, 6);
    let mut say = Transcript::new(&url);
    for arguments in [
        &["ask", "balances", "ann"][..],
        &["ask", "balances", "ann", "--json"],
        &["ask", "balances", "eve of the hill"],
        &["ask", "balances"],
        &["ask", "balances", "--json"],
        &["ask", "turnover", "ann"],
        &["ask", "turn.over", "ann"],
        &["project", "turnover", "--data", &kept],
        &["project", "balances", "--data", &kept],
    ] {
        say.ask(arguments);
    }
    projecting.stop();
    say.ask(&["ask", "balances", "ann"]);
    for more in [&[][..], &["--rebuild"]] {
        let (projecting, ready) = start(more);
        assert!(ready.ends_with(", 6 commits\n"), "{ready}");
        projecting.stop();
    }
    assert_snapshot("cli__projection", &say.text());
}

#[test]
fn without_a_feed_there_is_nothing_to_project() {
    let nats = NatsServer::start();
    let output = run(&["project", "balances", "--in-memory", "--server", &nats.url()]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("a processor with --feed on makes it"), "{}", stderr(&output));
}
