//! What shows on a terminal only: how far a long scan is.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::hapax::{code, hapax, run, stderr};
use crate::reading::{SHOP, imported};
use crate::{OPEN, Site};

/// Runs a command line whose stderr is a terminal: what comes to stdout, and what the terminal shows.
fn on_a_terminal(arguments: &[&str]) -> (String, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mut command = hapax(arguments);
    let mut child = command.env("TERM", "xterm").stdout(Stdio::piped()).stderr(terminal).spawn().unwrap();
    drop(command); // It holds our end of the terminal, and while that is open there is no end of what it shows.
    let (mut master, mut shown) = (File::from(master), Vec::new());
    // At the end Linux says EIO, others that nothing more comes.
    let mut piece = [0; 4096];
    while let Ok(bytes @ 1..) = master.read(&mut piece) {
        shown.extend_from_slice(&piece[..bytes]);
    }
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    (said, String::from_utf8_lossy(&shown).into_owned())
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
