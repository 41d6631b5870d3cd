//! One row of the table of faults: what was broken, how often, and what came of it. `scripts/test` and `scripts/soak`
//! print the table.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Stdio};

/// A file that rows are added to.
const TABLE: &str = "HAPAX_FAULT_TABLE";

/// What does not hold after a fault, and how much that was promised is lost: outcomes that were replied and are not in the
/// store as they were replied, and commands that never get one.
#[derive(Debug, Default)]
pub struct Verdict {
    pub complaints: Vec<String>,
    pub lost: usize,
}

impl Verdict {
    /// Something that does not hold.
    pub fn of(complaint: impl Into<String>) -> Verdict {
        Verdict { complaints: vec![complaint.into()], lost: 0 }
    }
}

/// What is counted of one fault.
pub struct Row {
    fault: String,
    runs: usize,
    survived: usize,
    lost: usize,
}

/// What a fault needs to be brought about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Root,
    Strace,
}

impl Row {
    /// A row that runs are added to.
    pub fn of(fault: impl Into<String>) -> Row {
        Row { fault: fault.into(), runs: 0, survived: 0, lost: 0 }
    }

    /// So many runs, for which one verdict was given.
    pub fn add(&mut self, runs: usize, name: &str, verdict: &Verdict) {
        self.runs += runs;
        self.lost += verdict.lost;
        if verdict.complaints.is_empty() {
            self.survived += runs;
        } else {
            println!("{}: {name}:\n  {}", self.fault, verdict.complaints.join("\n  "));
        }
    }

    /// Prints the row. A fault that was never brought about, or that a promise did not survive, is a failure.
    pub fn end(self) {
        Row::end_all([self]);
    }

    /// Prints all of them before any fails.
    pub fn end_all<const N: usize>(rows: [Row; N]) {
        for Row { fault, runs, survived, lost } in &rows {
            print(&format!("{fault:<60} {runs:>8} {survived:>8} {lost:>5}"));
        }
        for Row { fault, runs, survived, lost } in rows {
            assert!(runs > 0, "{fault}: nothing was run");
            assert_eq!((survived, lost), (runs, 0), "{fault}: see above");
        }
    }

    /// The whole row of runs that have one verdict.
    pub fn whole(fault: &str, runs: usize, verdict: &Verdict) {
        let mut row = Row::of(fault);
        row.add(runs, fault, verdict);
        row.end();
    }
}

/// Whether a fault can be brought about here. Where it cannot, the row says so; where CI is set that is a failure.
pub fn can_run(fault: &str, needs: &[Need]) -> bool {
    let missing = needs.iter().find_map(|need| match need {
        Need::Root if !is_root() => Some("needs root"),
        Need::Strace if !has_strace() => Some("no strace (on Debian: apt-get install strace)"),
        _ => None,
    });
    let Some(missing) = missing else { return true };
    print(&format!("{fault:<60} not run: {missing}"));
    assert!(env::var_os("CI").is_none(), "{fault}: not run: {missing}");
    false
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id is part of every system");
    id.stdout == b"0\n"
}

fn has_strace() -> bool {
    Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn print(line: &str) {
    println!("{line}");
    if let Some(path) = env::var_os(TABLE).filter(|path| !path.is_empty()) {
        let mut table = OpenOptions::new().create(true).append(true).open(path).unwrap();
        table.write_all(format!("{line}\n").as_bytes()).unwrap(); // At once, so that rows do not mix.
    }
}
