//! What differs between the settings that must be and those that are.

use std::fmt::Debug;

use async_nats::jetstream::consumer::{self, pull};
use async_nats::jetstream::stream;

use super::ProvisionError;

/// A setting that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{of}: {setting} is {found}, not {wanted}")]
pub struct Drift {
    /// The stream or consumer.
    pub of: String,
    /// The setting, by its name in the server's API.
    pub setting: &'static str,
    /// What it must be.
    pub wanted: String,
    /// What it is.
    pub found: String,
}

pub(super) fn refuse(drifts: Vec<Drift>) -> Result<(), ProvisionError> {
    if drifts.is_empty() { Ok(()) } else { Err(ProvisionError::Drifted(drifts)) }
}

/// Gathers what differs.
struct Comparison {
    of: String,
    drifts: Vec<Drift>,
}

impl Comparison {
    fn of(of: String) -> Comparison {
        Comparison { of, drifts: Vec::new() }
    }

    fn same<T: PartialEq + Debug>(mut self, setting: &'static str, wanted: &T, found: &T) -> Comparison {
        if wanted != found {
            let (wanted, found) = (format!("{wanted:?}"), format!("{found:?}"));
            self.drifts.push(Drift { of: self.of.clone(), setting, wanted, found });
        }
        self
    }

    /// A limit that an administrator may choose, as long as there is one; none where none may be.
    fn bounded(mut self, setting: &'static str, wanted: i64, found: i64) -> Comparison {
        if wanted <= 0 {
            return self.same(setting, &wanted, &found);
        }
        if found <= 0 {
            let (wanted, found) = ("a limit".into(), "unlimited".into());
            self.drifts.push(Drift { of: self.of.clone(), setting, wanted, found });
        }
        self
    }
}

/// Replicas, placement and compression are the administrator's.
pub(super) fn stream_drifts(wanted: &stream::Config, found: &stream::Config) -> Vec<Drift> {
    Comparison::of(format!("stream {}", wanted.name))
        .same("subjects", &wanted.subjects, &found.subjects)
        .same("subject_transform", &wanted.subject_transform, &found.subject_transform)
        .same("retention", &wanted.retention, &found.retention)
        .same("storage", &wanted.storage, &found.storage)
        .same("discard", &wanted.discard, &found.discard)
        .same("discard_new_per_subject", &wanted.discard_new_per_subject, &found.discard_new_per_subject)
        .bounded("max_bytes", wanted.max_bytes, found.max_bytes)
        .same("max_msgs", &wanted.max_messages, &found.max_messages)
        .same("max_msgs_per_subject", &wanted.max_messages_per_subject, &found.max_messages_per_subject)
        .same("max_msg_size", &wanted.max_message_size, &found.max_message_size)
        .same("max_age", &wanted.max_age, &found.max_age)
        .same("no_ack", &wanted.no_ack, &found.no_ack)
        .same("sealed", &wanted.sealed, &found.sealed)
        .same("duplicate_window", &wanted.duplicate_window, &found.duplicate_window)
        .same("deny_delete", &wanted.deny_delete, &found.deny_delete)
        .same("deny_purge", &wanted.deny_purge, &found.deny_purge)
        // Headers obey the stream's settings, not their sender's permissions: a rollup wipes, a schedule stores elsewhere.
        .same("allow_rollup_hdrs", &wanted.allow_rollup, &found.allow_rollup)
        .same("allow_msg_schedules", &wanted.allow_message_schedules, &found.allow_message_schedules)
        .same("allow_msg_ttl", &wanted.allow_message_ttl, &found.allow_message_ttl)
        .same("allow_atomic", &wanted.allow_atomic_publish, &found.allow_atomic_publish)
        .same("allow_msg_counter", &wanted.allow_message_counter, &found.allow_message_counter)
        .same("mirror", &wanted.mirror.is_some(), &found.mirror.is_some())
        .same("sources", &wanted.sources.is_some(), &found.sources.is_some())
        .drifts
}

/// The metadata is not compared here: it says whose the consumer is (`claim`).
pub(super) fn consumer_drifts(wanted: &pull::Config, found: &consumer::Config) -> Vec<Drift> {
    let wanted = consumer::IntoConsumerConfig::into_consumer_config(wanted);
    let name = wanted.durable_name.as_deref().expect("our consumers are durable");
    Comparison::of(format!("consumer {name}"))
        .same("filter_subject", &wanted.filter_subject, &found.filter_subject)
        .same("filter_subjects", &wanted.filter_subjects, &found.filter_subjects)
        .same("deliver_policy", &wanted.deliver_policy, &found.deliver_policy)
        .same("ack_policy", &wanted.ack_policy, &found.ack_policy)
        .same("replay_policy", &wanted.replay_policy, &found.replay_policy)
        .same("ack_wait", &wanted.ack_wait, &found.ack_wait)
        .same("backoff", &wanted.backoff, &found.backoff)
        .same("max_deliver", &wanted.max_deliver, &found.max_deliver)
        .same("max_ack_pending", &wanted.max_ack_pending, &found.max_ack_pending)
        .same("headers_only", &wanted.headers_only, &found.headers_only)
        .same("max_batch", &wanted.max_batch, &found.max_batch)
        .same("max_expires", &wanted.max_expires, &found.max_expires)
        .same("max_bytes", &wanted.max_bytes, &found.max_bytes)
        .same("priority_policy", &wanted.priority_policy, &found.priority_policy)
        .same("pause_until", &wanted.pause_until, &found.pause_until)
        .drifts
}
