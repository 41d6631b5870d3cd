//! The checker, checked: it finds nothing in a run where nothing was wrong, and it finds every planted fault. A fault that
//! it does not find, or an invariant without a fault, fails.

mod common;
#[path = "checker/faults.rs"]
mod faults;
#[path = "checker/run.rs"]
mod run;

use common::checker::invariants;
use common::row::{Row, Verdict};
use faults::FAULTS;
use run::Run;

#[test]
fn a_good_run_is_good() {
    let counts = Run::good().check().unwrap_or_else(|violations| panic!("{violations:#?}"));
    println!("{counts}");
    for (invariant, count) in invariants().zip(counts.0) {
        assert!(count > 0, "{invariant} was not checked once");
    }
    // 19 commits of `Run::good`, two of them atomic batches. A rule that looks at less than there is finds nothing either.
    assert_eq!(counts.0, [19, 31, 33, 2, 19, 19, 19, 19, 20, 21, 19, 19, 19, 9, 19, 20, 27, 19]);
    let mut twice = counts;
    twice.add(&counts);
    assert_eq!(twice.0, counts.0.map(|count| 2 * count));
}

#[test]
fn every_planted_fault_is_found() {
    let mut row = Row::of("checker: planted faults (survived: caught)");
    println!("{:<4} {:<56} found", "", "fault");
    for (invariant, name, plant) in FAULTS {
        let mut run = Run::good();
        plant(&mut run);
        let violations = run.check().err().unwrap_or_default();
        let by: Vec<&str> = violations.iter().map(|violation| violation.invariant).collect();
        println!("{invariant:<4} {name:<56} {} ({})", by.len(), by.join(" "));
        let complaints = if by.contains(&invariant) { vec![] } else { vec![format!("{invariant} does not find it")] };
        row.add(1, name, &Verdict { complaints, lost: 0 });
    }
    row.end();
    let has_fault = |invariant: &&str| FAULTS.iter().any(|(of, ..)| of == invariant);
    let without: Vec<&str> = invariants().filter(|invariant| !has_fault(invariant)).collect();
    assert!(without.is_empty(), "without a fault: {without:?}");
}

#[test]
fn the_rules_are_the_invariants_of_the_documentation() {
    let documentation = include_str!("../src/lib.rs");
    let documented = documentation.lines().filter_map(|line| line.strip_prefix("//! * **")?.split_once("**"));
    let documented: Vec<&str> = documented.map(|(name, _)| name).collect();
    let rules: Vec<&str> = invariants().collect();
    assert_eq!(documented, rules);
}
