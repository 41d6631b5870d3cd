//! The commits that memory answers for.

use super::*;

fn look(number: u64) -> Commit {
    commit(command("42", number, "look", "{}"), number, 0, 0)
}

#[test]
fn commits_are_found_by_identity_wherever_the_first_one_stands() {
    let mut recent = Recent::new(Newest::default());
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
    let mut recent = Recent::new(Newest::default());
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
    let mut recent = Recent::new(Newest::default());
    recent.add(look(1));
    let second = commit(command("42", 1, "look", "{}"), 2, 0, 0);
    assert!(crate::model::error::caught(|| recent.add(second)).unwrap_err().starts_with("I1"));
}

/// The UUID of version 7 of a millisecond.
fn made_at(millisecond: u128) -> CommandId {
    Uuid::from_u128(millisecond << 80 | 7 << 76 | 1 << 63).into()
}

#[test]
fn an_id_is_excluded_if_it_is_newer_than_all_that_are_not_held() {
    let mut recent = Recent::new(Newest::at(5));
    let of = |id: CommandId| Identity { id, ..identity("42", 1) };
    assert!(!recent.excludes(&of(made_at(5))) && recent.excludes(&of(made_at(6))));
    assert!(!recent.excludes(&identity("42", 1)), "says nothing of its time");
    for (position, id) in [(1, made_at(9)), (2, made_at(7))] {
        let command = Command { identity: of(id), ..command("42", 1, "look", "{}") };
        recent.add(commit(command, position, 0, 0));
    }
    assert!(recent.get(&of(made_at(9))).is_some() && recent.excludes(&of(made_at(8))));
    recent.forget_upto(position(1));
    assert!(!recent.excludes(&of(made_at(9))) && !recent.excludes(&of(made_at(8))));
    recent.forget_upto(position(2));
    assert!(!recent.excludes(&of(made_at(9))) && recent.excludes(&of(made_at(10))), "the bound never falls");
}

/// A copy waits behind a turn that is being looked up, and so does forgetting (rule 2).
#[test]
fn a_new_id_is_not_looked_up_until_its_commit_has_left_memory() {
    let id = made_at(1_795_000_000_000).to_string();
    let first = add("1", 1).without(header::ID).with(header::ID, &id);
    let mut rig = Rig::new();
    rig.decide(vec![add("1", 7)]);
    assert_eq!(told(&rig.deliver(vec![first.clone()]))[0], "append 2", "no look-up");
    rig.sync();
    let blocked = rig.deliver(vec![add("1", 8)]);
    let copy = rig.deliver(vec![first.copy(9)]);
    assert!(copy.is_empty(), "memory knows it: {copy:?}");
    rig.index(2);
    let loaded = rig.answer(&blocked, 2);
    assert_eq!(told(&rig.on(loaded)), ["append 3", "reply 9: 200 at 2 (replayed)", "ack 9"]);
    assert_eq!(told(&rig.deliver(vec![first.copy(10)]))[0], "load 4: 1 ids, 0 aggregates");
}
