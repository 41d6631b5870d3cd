//! `hapax replay --from-nats`: what it shows is what it shows of the data directory.

use std::process::Command;

use crate::plain::site;
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
    for (more, lines) in [
        (&[][..], 8),
        (&["--json"], 8),
        (&["account/42"], 4),
        (&["account/42", "--from", "v2"], 2),
        (&["--from", "3", "--to", "5"], 3),
        (&["--event", "opened"], 2),
        (&["--principal", "bob"], 0),
    ] {
        let shown = replay(&[&["--from-nats", "--server", &url], more].concat());
        assert_eq!(shown, replay(&[&["--data", &dir], more].concat()), "{more:?}");
        assert_eq!(shown.lines().count(), lines, "{more:?}: {shown}");
    }
    processor.stop().await;
}
