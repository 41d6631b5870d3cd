//! `hapax replay --from-nats`: what it shows is what it shows of the data directory.

use std::process::Command;

use crate::common::feed::read_store;
use crate::plain::{id, site};
use crate::program::{Running, hapax};
use crate::stream::{SOME, some_of_everything, until_fed};

fn replay(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hapax"));
    let output = command.arg("replay").args(arguments).env("XDG_CONFIG_HOME", "/nonexistent").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_replays_as_the_data_directory_does() {
    let (nats, data, processor, alice) = site().await;
    some_of_everything(&alice).await;
    until_fed(&alice, SOME).await;
    let (dir, url) = (data.path().display().to_string(), nats.url());
    let times: Vec<String> = read_store(data.path(), 0).iter().map(|commit| commit.decided_at.to_string()).collect();
    let time = |position: usize| times[position - 1].as_str();
    let (deposit, batch) = (id(12), id(20));
    // By how many lines there must be, no filter is without effect. Positions 3 to 5 are one batch, and of one time.
    for (more, lines) in [
        (&[][..], 8),
        (&["--json"], 8),
        (&["account/42"], 4),
        (&["account/42", "--from", "v2"], 2),
        (&["account/42", "--from", "v1", "--to", "v1"], 2),
        (&["--from", "3", "--to", "5"], 3),
        (&["--from", time(2)], 7),
        (&["--to", time(2)], 2),
        (&["--from", time(3), "--to", time(3)], 3),
        (&["--from", time(2), "--to", time(4), "--json"], 4),
        (&["--from", "@2", "--to", time(5)], 4),
        (&["--from", time(5), "--to", "@4"], 2),
        (&["--from", "2020-01-01", "--to", "2020-01-02"], 0),
        (&["--from", "now"], 0),
        (&["--to", "now"], 8),
        (&["--id", &deposit], 1),
        (&["--id", &deposit, "--json"], 1),
        (&["--id", &batch], 1),
        (&["--id", "nobody-sent-this"], 0),
        (&["--type", "account"], 6),
        (&["--type", "account", "--json"], 6),
        (&["--type", "order"], 0),
        (&["--event", "opened"], 2),
        (&["--principal", "alice"], 8),
        (&["--principal", "bob"], 0),
        (
            &[
                "account/42",
                "--type",
                "account",
                "--event",
                "deposited",
                "--id",
                &deposit,
                "--from",
                time(2),
                "--to",
                "v2",
            ],
            1,
        ),
    ] {
        let shown = replay(&[&["--from-nats", "--server", &url], more].concat());
        assert_eq!(shown, replay(&[&["--data", &dir], more].concat()), "{more:?}");
        assert_eq!(shown.lines().count(), lines, "{more:?}: {shown}");
    }
    processor.stop().await;
}

/// What is there, then what comes, each once and in order; until it is told to stop.
#[tokio::test(flavor = "multi_thread")]
async fn the_feed_is_followed() {
    let (nats, _data, processor, alice) = site().await;
    some_of_everything(&alice).await;
    until_fed(&alice, SOME).await;
    let follow = |more: &[&str]| {
        let mut command = hapax(&["replay", "--from-nats", "--follow", "--json", "--no-context"]);
        Running::start(command.args(["--server", &nats.url()]).args(more))
    };
    let (mut all, mut some) = (follow(&[]), follow(&["account/42"]));
    let position = |number: u64| format!(r#"{{"partition":0,"position":{number},"#);
    all.until(&position(SOME));
    some.until(&position(SOME));
    for number in 1..=6 {
        let to = if number % 2 == 0 { "account.42.deposit" } else { "account.43.deposit" };
        alice.tell(to, &id(50 + number), r#"{"amount":1}"#).await;
        assert!(all.until(&position(SOME + number)).contains(&id(50 + number)));
    }
    some.until(&position(SOME + 6));
    assert_eq!((all.lines.len(), some.lines.len()), (8 + 6, 4 + 3), "each once, and only what is asked for");
    for following in [all, some] {
        following.signal("INT");
        assert!(following.wait().success());
    }
    processor.stop().await;
}
