//! What shows on a terminal only: how far a long scan is, and colours.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::hapax::{code, hapax, run, stderr, stdout};
use crate::reading::{SHOP, imported};
use crate::{OPEN, Site};

/// A terminal: the side that shows, and the side that a program has.
fn terminal() -> (File, File) {
    let shows = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&shows).unwrap();
    unlockpt(&shows).unwrap();
    let name = ptsname(&shows, Vec::new()).unwrap().into_string().unwrap();
    (File::from(shows), OpenOptions::new().read(true).write(true).open(name).unwrap())
}

/// What a terminal shows until nobody has its other side any more.
fn until_closed(mut shows: File) -> String {
    let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
    // At the end Linux says EIO, others that nothing more comes.
    while let Ok(bytes @ 1..) = shows.read(&mut piece) {
        shown.extend_from_slice(&piece[..bytes]);
    }
    String::from_utf8_lossy(&shown).into_owned()
}

/// Runs a command line whose stderr is a terminal: what comes to stdout, and what the terminal shows.
fn on_a_terminal(arguments: &[&str]) -> (String, String) {
    let (shows, terminal) = terminal();
    let mut command = hapax(arguments);
    let mut child = command.env("TERM", "xterm").stdout(Stdio::piped()).stderr(terminal).spawn().unwrap();
    drop(command); // It holds our end of the terminal, and while that is open there is no end of what it shows.
    let (shown, mut said) = (until_closed(shows), String::new());
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    (said, shown)
}

/// What a command line shows whose stdout is a terminal.
fn shown(mut command: Command) -> String {
    let (shows, terminal) = terminal();
    let mut child = command.env("TERM", "xterm").stdout(terminal).stderr(Stdio::null()).spawn().unwrap();
    drop(command);
    let shown = until_closed(shows);
    assert!(child.wait().unwrap().success());
    shown.replace("\r\n", "\n")
}

/// On a terminal what goes is red and what comes is green. Into a file or a pipe, and where somebody wants none, the same
/// text comes without colours.
#[test]
fn a_difference_has_colours_on_a_terminal_only() {
    const RED: &str = "\u{1b}[31m";
    const GREEN: &str = "\u{1b}[32m";
    const END: &str = "\u{1b}[0m";
    let (_folder, data) = imported(SHOP);
    let diff = ["state", "order/ann", "--at-version", "1", "--diff", "3", "--data", &data];
    let with = |value: Option<&str>| {
        let mut command = hapax(&diff);
        if let Some(value) = value {
            command.env("NO_COLOR", value);
        }
        command
    };
    let coloured = shown(with(None));
    for line in [
        format!("\n{RED}-   \"paid\": 0,{END}\n"),
        format!("\n{RED}-   \"status\": \"placed\",{END}\n"),
        format!("\n{GREEN}+   \"paid\": 4000,{END}\n"),
        format!("\n{GREEN}+   \"status\": \"paid\",{END}\n"),
        "\n    \"total\": 4000,\n".into(),
    ] {
        assert!(coloured.contains(&line), "{line:?} in {coloured:?}");
    }
    assert_eq!(coloured, shown(with(Some(""))), "https://no-color.org: an empty value wants nothing");
    let piped = with(None).output().unwrap();
    assert_eq!(stdout(&piped), shown(with(Some("1"))));
    assert!(stdout(&piped).contains("\n-   \"paid\": 0,\n") && !stdout(&piped).contains('\u{1b}'), "{piped:?}");
}

#[test]
fn a_long_scan_shows_how_far_it_is_and_leaves_nothing_behind() {
    let (_folder, data) = imported(SHOP);
    for (arguments, bar) in [
        (&["replay"][..], "partition 0: journal"),
        (&["verify"], "partition 0: journal"),
        (&["verify"], "partition 0: decided again"),
        (&["export"], "partition 0: export"),
        (&["why", "2026-rest-ann-0001"], "partition 0: looking for it"),
        (&["state", "account/ann"], "looking for account/ann"),
    ] {
        let arguments = [arguments, &["--data", &data]].concat();
        let (said, shown) = on_a_terminal(&arguments);
        let counts = shown.contains("/18 commits") || shown.contains(" commits read");
        assert!(shown.contains(bar) && counts, "{arguments:?}: {shown:?}");
        let cleared = shown.trim_end_matches(['\r', '\n']).ends_with("\u{1b}[2K");
        assert!(cleared, "{arguments:?}: {shown:?}");
        let quiet = hapax(&arguments).output().unwrap();
        assert_eq!((said.as_bytes(), quiet.stderr.len()), (&quiet.stdout[..], 0), "{arguments:?}");
    }
}

#[test]
fn reading_the_feed_has_a_bar_too() {
    let mut site = Site::start();
    let (url, data) = (site.nats.url(), site.data_text());
    let sent = run(&["send", "account/42", "open", OPEN, "--server", &url]);
    assert_eq!(code(&sent), 0, "{}", stderr(&sent));
    site.stop_processor(); // Everything is fed by then.
    for arguments in
        [&["replay", "--from-nats", "--server", &url][..], &["verify", "--feed", "--server", &url, "--data", &data]]
    {
        let (_, shown) = on_a_terminal(arguments);
        assert!(shown.contains("partition 0: feed") && shown.contains("/1 commits"), "{arguments:?}: {shown:?}");
    }
}
