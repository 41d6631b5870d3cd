//! Where a group ends, and what is none.

use bytes::Bytes;

use super::*;
use crate::model::batch::Group;
use crate::model::groups::{GroupError, Groups};

fn position(number: u64) -> Position {
    Position::new(number).unwrap()
}

/// A commit, with so many others as one with it.
fn commit(number: u64, followers: u32) -> Commit {
    let kind = if followers > 0 { AggregateType::BATCH } else { "account" };
    let aggregate: AggregateId = format!("{kind}/1").parse().unwrap();
    let id = CommandId::parse(&format!("command-{number:08}")).unwrap();
    let data = Group { commands: followers, checks: Vec::new() }.to_json();
    let command = Command {
        identity: Identity { principal: Principal::parse("ann").unwrap(), key: aggregate.key.clone(), id: id.clone() },
        aggregate: aggregate.clone(),
        name: if followers > 0 { CommandName::run() } else { CommandName::parse("open").unwrap() },
        data: if followers > 0 { data } else { Bytes::from_static(b"{}") },
        expected: None,
        not_after: None,
        traceparent: None,
    };
    let (version, decision) = (Version(0), Decision::Accepted(Vec::new()));
    let outcome =
        Outcome { id, aggregate, version, position: position(number), decided_at: Timestamp::EPOCH, decision };
    Commit::record(command, &outcome, None, &ChainHash([7; 32]))
}

/// The sizes of the groups in commits with so many followers, and what is said at their end.
fn gathered(followers: &[u32]) -> Result<Vec<usize>, GroupError> {
    let (mut groups, mut sizes) = (Groups::default(), Vec::new());
    for (number, followers) in (1..).zip(followers) {
        sizes.extend(groups.take(commit(number, *followers))?.map(|group| group.len()));
    }
    groups.end().map(|()| sizes)
}

#[test]
fn groups_come_whole() {
    assert_eq!(gathered(&[]), Ok(vec![]));
    assert_eq!(gathered(&[0, 0, 2, 0, 0, 1, 0, 0]), Ok(vec![1, 1, 3, 2, 1]));
    // The rest of one whose beginning was not seen is commits of their own.
    assert_eq!(gathered(&[0, 0, 1, 0]), Ok(vec![1, 1, 2]));
}

#[test]
fn what_is_no_whole_group_is_named() {
    let (open, torn) = (gathered(&[0, 3, 0]).unwrap_err(), gathered(&[0, 2, 0, 1, 0]).unwrap_err());
    assert_eq!(open, GroupError::Open { head: position(2), missing: 2 });
    assert_eq!(open.to_string(), "the atomic batch at position 2 does not end: 2 of its commits are missing");
    assert_eq!(torn, GroupError::Torn { head: position(2), at: position(4) });
    assert_eq!(
        torn.to_string(),
        "the atomic batch at position 2 is torn: another one begins at position 4, before its end"
    );
}
