//! Deciding again what was decided: nothing differs under the same code, and what differs under another is found.

use std::sync::Arc;

use hapax::replay::redecide::{Now, Redecided, Redecider};
use hapax::replay::timeline::came_of;
use hapax::{Commit, Service};

use crate::common::pure::STORE;
use crate::till::{AS_IT_WAS, OTHER_EVENT, OTHER_FOLD, OTHER_RULE, OTHER_WORDS, PANICS, service, story};

fn again(service: Service, commits: &[Commit]) -> Vec<Redecided> {
    let mut redecider = Redecider::new(Arc::new(service), STORE);
    let redecided: Vec<_> = commits.iter().flat_map(|commit| redecider.decide(commit.clone()).unwrap()).collect();
    assert_eq!(redecided.len(), commits.len());
    redecided
}

/// Position, what was decided and what would be, and whether the state would be another.
fn differences(service: Service) -> Vec<(u64, String, String, bool)> {
    let differing = again(service, &story()).into_iter().filter_map(|redecided| {
        let Redecided { recorded, now, state_differs, .. } = redecided;
        let was = came_of(&recorded.command, &recorded.outcome().unwrap().decision);
        Some((recorded.position.get(), was, now?.text(), state_differs))
    });
    differing.collect()
}

/// Acceptances with one event, with several and with none; the aggregate's own rejection and each of the protocol's;
/// voids of a command and of a batch; batches of each kind, with checks that hold and one that does not.
#[test]
fn the_same_code_decides_the_same() {
    assert_eq!(differences(service::<AS_IT_WAS>()), []);
}

#[test]
fn a_changed_rule_is_found_where_it_matters_and_nowhere_else() {
    let at_most = "rejected at_most100: at most 100 at once".to_owned();
    let aborted = "rejected batch_aborted: its own part was fine, another item of its atomic batch was rejected";
    let too_much = |total: i64, amount: i64| format!("rejected too_much: ann has {total}, not {amount}");
    let taken = |amount: i64| format!("taken {{\"amount\":{amount}}}");
    let expected = [
        (3, taken(200), at_most.clone(), true),
        (4, too_much(300, 900), at_most.clone(), false),
        // One part of an atomic batch is rejected, so all of it is. State follows what is recorded: nothing after it differs
        // because of it.
        (14, "all accepted".to_owned(), "all rejected".to_owned(), false),
        (15, taken(150), at_most.clone(), true),
        (16, "put {\"amount\":150}".to_owned(), aborted.to_owned(), true),
        (18, too_much(80, 5000), at_most, false),
    ];
    assert_eq!(differences(service::<OTHER_RULE>()), expected);
}

/// Outcomes are compared byte for byte, the words of a rejection too.
#[test]
fn other_words_are_another_outcome_of_the_same_state() {
    let found = differences(service::<OTHER_WORDS>());
    let brief: Vec<_> = found.iter().map(|(position, _, now, state)| (*position, now.as_str(), *state)).collect();
    assert_eq!(
        brief,
        [
            (4, "rejected too_much: somebody has 300, not 900", false),
            (18, "rejected too_much: somebody has 80, not 5000", false),
        ]
    );
}

#[test]
fn a_type_that_is_no_longer_served_is_refused() {
    let without = Service::new().with::<hapax::samples::Order>();
    let found = again(without, &story());
    // All but the void of a batch, which no aggregate decides.
    let same: Vec<_> = found.iter().filter(|redecided| redecided.now.is_none()).collect();
    assert_eq!(same.iter().map(|redecided| redecided.recorded.position.get()).collect::<Vec<_>>(), [20]);
    for redecided in found.iter().filter(|redecided| redecided.recorded.position.get() != 20) {
        let Some(Now::Refused(refusal)) = &redecided.now else { panic!("{redecided:?}") };
        assert_eq!((refusal.code, refusal.reason.as_ref()), (404, "unknown_aggregate"));
        assert_eq!(redecided.state_differs, redecided.recorded.event_count > 0);
    }
}

#[test]
fn an_event_that_cannot_be_read_takes_its_aggregate_along_and_no_other() {
    let found = again(service::<OTHER_EVENT>(), &story());
    let unreadable: Vec<_> =
        found.iter().filter_map(|found| Some((found.recorded.position.get(), found.unreadable.as_ref()?))).collect();
    assert_eq!(unreadable.len(), 2, "each aggregate once: {unreadable:?}");
    assert_eq!((unreadable[0].0, unreadable[1].0), (2, 16));
    assert!(unreadable[0].1.contains("till/1: evolve panicked at position 2"), "{}", unreadable[0].1);
    // The put itself: its events cannot be folded either, so it would not be decided.
    let refused = |at: usize| match &found[at - 1].now {
        Some(Now::Refused(refusal)) => refusal.code,
        _ => 0,
    };
    assert_eq!((refused(1), refused(2), refused(3), refused(8)), (0, 500, 503, 503));
    assert_eq!((refused(12), refused(21)), (0, 0), "others are served");
}

#[test]
fn a_decide_that_panics_is_found() {
    let found = differences(service::<PANICS>());
    let positions: Vec<u64> = found.iter().map(|difference| difference.0).collect();
    assert_eq!(positions, [3, 4, 6, 13, 14, 15, 16, 17, 18, 19]);
    assert!(found.iter().all(|difference| difference.2.starts_with("refused decide_panicked: ")), "{found:?}");
}

/// Its outcomes are the same as long as nothing is taken beyond what is left; where the wrong total matters, that is found.
#[test]
fn a_changed_evolve_is_found_in_what_it_leads_to() {
    let found = differences(service::<OTHER_FOLD>());
    assert!(
        found.iter().any(|(position, _, now, _)| *position == 4 && now.contains("ann has 100, not 900")),
        "{found:?}"
    );
}
