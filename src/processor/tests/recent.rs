//! The commits that memory answers for.

use super::*;

fn look(number: u64) -> Commit {
    commit(command("42", number, "look", "{}"), number, 0, 0)
}

#[test]
fn commits_are_found_by_identity_wherever_the_first_one_stands() {
    let mut recent = Recent::default();
    for number in 7..=9 {
        recent.add(look(number));
    }
    assert_eq!(recent.get(&identity("42", 8)).unwrap().position, position(8));
    assert!(recent.get(&identity("42", 6)).is_none());
    assert!(recent.get(&identity("43", 8)).is_none(), "an id belongs to its key");
    recent.forget_upto(position(7));
    assert_eq!(recent.get(&identity("42", 9)).unwrap().position, position(9));
}

#[test]
fn what_is_forgotten_is_gone_and_not_counted() {
    let mut recent = Recent::default();
    for number in 1..=3 {
        recent.add(look(number));
    }
    let bytes = look(3).json().len();
    assert_eq!((recent.len(), recent.bytes()), (3, 3 * bytes));
    recent.forget_upto(position(2));
    assert!(recent.get(&identity("42", 2)).is_none());
    assert!(recent.get(&identity("42", 3)).is_some());
    assert_eq!((recent.len(), recent.bytes()), (1, bytes));
    recent.forget_upto(position(9));
    assert_eq!((recent.len(), recent.bytes()), (0, 0));
}

#[test]
fn two_commits_for_one_identity_end_the_process() {
    let mut recent = Recent::default();
    recent.add(look(1));
    let second = commit(command("42", 1, "look", "{}"), 2, 0, 0);
    assert!(crate::model::error::caught(|| recent.add(second)).unwrap_err().starts_with("I1"));
}
