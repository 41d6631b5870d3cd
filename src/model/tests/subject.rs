//! Which subjects are ours, and whose inbox is whose.

use super::*;
use crate::model::limits::{REPLY_SUBJECT_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::model::subject::{CommandSubject, GrammarError, ProjectionSubject, QuerySubject, is_inbox_of};

#[test]
fn a_token_is_printable_ascii_of_bounded_length() {
    for token in ["a", "42", "a-b_c:d/e@f", "~!#$%&'()+,;<=?[]^`{|}\"\\", "x".repeat(TOKEN_BYTES_MAX).as_str()] {
        assert!(Key::parse(token).is_ok(), "{token}");
    }
    for no_token in ["", "a b", "a.b", "*", "a>", "é", "a\u{7f}", "a\r", "x".repeat(TOKEN_BYTES_MAX + 1).as_str()] {
        assert_eq!(Key::parse(no_token), Err(GrammarError::Token), "{no_token:?}");
    }
    assert!(serde_json::from_str::<Key>(r#""a.b""#).is_err(), "also where it is read from JSON");
}

#[test]
fn an_id_is_sixteen_to_sixty_four_plain_characters() {
    for id in ["0123456789abcdef", "ABC-def_0123456789", "x".repeat(64).as_str()] {
        assert!(CommandId::parse(id).is_ok(), "{id}");
    }
    for no_id in ["0123456789abcde", "x".repeat(65).as_str(), "0123456789abcde.", "0123456789abcdeé", ""] {
        assert_eq!(CommandId::parse(no_id), Err(GrammarError::Id), "{no_id:?}");
    }
}

#[test]
fn a_command_is_read_from_where_the_stream_stores_it() {
    let subject = CommandSubject::parse_stored("work.3.alice.account.42.deposit").unwrap();
    assert_eq!(subject.to_string(), "cmd.alice.account.42.deposit", "and published under this");
    assert_eq!(subject.aggregate.to_string(), "account/42");
    for other in [
        "",
        "cmd.alice.account.42.deposit",
        "work.3.alice.account.42",
        "work.3.alice.account.42.deposit.now",
        "jobs.3.alice.account.42.deposit",
    ] {
        assert!(matches!(CommandSubject::parse_stored(other), Err(GrammarError::Subject(_))), "{other:?}");
    }
    assert_eq!(CommandSubject::parse_stored("work.3.alice..42.deposit"), Err(GrammarError::Token));
}

#[test]
fn the_protocols_own_command_is_known_by_its_name() {
    assert!(CommandName::parse("_void").unwrap().is_void());
    assert!(!CommandName::parse("void").unwrap().is_void());
}

#[test]
fn an_aggregate_is_written_with_a_slash() {
    let aggregate: AggregateId = "account/a/b".parse().unwrap();
    assert_eq!((aggregate.kind.as_str(), aggregate.key.as_str()), ("account", "a/b"));
    assert_eq!("account".parse::<AggregateId>(), Err(GrammarError::Aggregate));
    assert_eq!("account/".parse::<AggregateId>(), Err(GrammarError::Token));
}

#[test]
fn a_query_says_what_it_asks() {
    for subject in ["qry.alice.outcome.account.42.0123456789abcdef", "qry.alice.state.account.42", "qry.alice.health"] {
        let query = QuerySubject::parse(subject).unwrap();
        assert_eq!((query.to_string().as_str(), query.principal().as_str()), (subject, "alice"));
    }
    for other in ["qry.alice", "qry.alice.outcome.account.42", "qry.alice.health.now", "qry.alice.states.account.42"] {
        assert!(matches!(QuerySubject::parse(other), Err(GrammarError::Subject(_))), "{other}");
    }
    assert_eq!(QuerySubject::parse("qry.alice.outcome.account.42.short"), Err(GrammarError::Id));
    assert_eq!(QuerySubject::parse("qry..health"), Err(GrammarError::Token));
}

#[test]
fn a_question_to_a_projection_says_what_it_asks() {
    for subject in ["prj.alice.balances.lag", "prj.alice.balances.row", "prj.alice.balances.row.ann"] {
        let question = ProjectionSubject::parse(subject).unwrap();
        assert_eq!((question.to_string().as_str(), question.principal.as_str()), (subject, "alice"));
    }
    for other in ["prj.alice.balances", "prj.alice.balances.lag.ann", "prj.alice.balances.rows.ann", "qry.alice.b.lag"]
    {
        assert!(matches!(ProjectionSubject::parse(other), Err(GrammarError::Subject(_))), "{other}");
    }
    assert_eq!(ProjectionSubject::parse("prj.alice..row.ann"), Err(GrammarError::Token));
    assert_eq!(ProjectionSubject::parse("prj.alice.balances.row."), Err(GrammarError::Token));
}

#[test]
fn an_inbox_belongs_to_the_principal_in_it() {
    let alice = Principal::parse("alice").unwrap();
    for hers in ["_INBOX.alice.1", "_INBOX.alice.a.b-c.d"] {
        assert!(is_inbox_of(&alice, hers), "{hers}");
    }
    for not_hers in [
        "_INBOX.alice",
        "_INBOX.alice.",
        "_INBOX.alice..1",
        "_INBOX.alice.*",
        "_INBOX.alice.a.>",
        "_INBOX.alice.a b",
        "_INBOX.alicex.1",
        "_INBOX.bob.1",
        "_inbox.alice.1",
        "x._INBOX.alice.1",
        "$JS.ACK.alice.1",
    ] {
        assert!(!is_inbox_of(&alice, not_hers), "{not_hers}");
    }
    let long = |bytes: usize| {
        let mut subject = "_INBOX.alice".to_owned();
        while subject.len() < bytes {
            subject.push_str(".x");
        }
        subject.truncate(bytes);
        subject
    };
    assert!(is_inbox_of(&alice, &long(REPLY_SUBJECT_BYTES_MAX)));
    assert!(!is_inbox_of(&alice, &long(REPLY_SUBJECT_BYTES_MAX + 2)));
}
