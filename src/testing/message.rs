//! What a story sends: a command, an atomic batch, or the void of an id. One value for every place: a delivery to a
//! processor in this process, or a call of the client.

use bytes::Bytes;

use crate::client::RawCommand;
use crate::model::item;
use crate::model::subject::CommandSubject;
use crate::model::{
    AggregateId, AggregateType, CommandId, CommandName, Identity, Key, Principal, Timestamp, Version, header,
};
use crate::processor::{Delivery, Ticket};

/// What is sent, and by whom.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) principal: Principal,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Command(RawCommand),
    Batch {
        id: CommandId,
        /// At least one.
        items: Vec<BatchItem>,
        not_after: Option<Timestamp>,
    },
    Void {
        /// The id of the void itself.
        own: CommandId,
        aggregate: AggregateId,
        id: CommandId,
    },
}

#[derive(Debug, Clone)]
pub(super) enum BatchItem {
    Command(RawCommand),
    Check(AggregateId, Version),
}

impl BatchItem {
    pub(super) fn aggregate(&self) -> &AggregateId {
        let (BatchItem::Command(RawCommand { aggregate, .. }) | BatchItem::Check(aggregate, _)) = self;
        aggregate
    }
}

/// Where the outcome of a batch is asked for.
pub(super) fn batch_at(key: Key) -> AggregateId {
    let kind = AggregateType::parse(AggregateType::BATCH).expect("the protocol's own names are tokens");
    AggregateId { kind, key }
}

fn void() -> CommandName {
    CommandName::parse(CommandName::VOID).expect("the protocol's own names are tokens")
}

impl Message {
    /// Which id is settled by it.
    pub(super) fn id(&self) -> &CommandId {
        match &self.what {
            What::Command(RawCommand { id, .. }) | What::Batch { id, .. } | What::Void { id, .. } => id,
        }
    }

    /// Under which identity its outcome is recorded.
    pub(super) fn identity(&self) -> Identity {
        Identity { principal: self.principal.clone(), key: self.aggregate().key, id: self.id().clone() }
    }

    /// Where its outcome is asked for.
    pub(super) fn aggregate(&self) -> AggregateId {
        match &self.what {
            What::Command(RawCommand { aggregate, .. }) | What::Void { aggregate, .. } => aggregate.clone(),
            What::Batch { items, .. } => batch_at(items[0].aggregate().key.clone()),
        }
    }

    /// The aggregates that it may change.
    pub(super) fn aggregates(&self) -> Vec<AggregateId> {
        match &self.what {
            What::Command(RawCommand { aggregate, .. }) | What::Void { aggregate, .. } => vec![aggregate.clone()],
            What::Batch { items, .. } => items.iter().map(|item| item.aggregate().clone()).collect(),
        }
    }

    /// As the broker delivers it to the partition.
    pub(super) fn delivery(&self, stored_at: Timestamp) -> Delivery {
        let Message { principal, what } = self;
        let mut headers = vec![(header::REPLY_TO, format!("_INBOX.{principal}.story"))];
        let limit = |time: &Option<Timestamp>| time.map(|time| (header::NOT_AFTER, time.to_string()));
        let (name, body) = match what {
            What::Command(RawCommand { id, name, data, expected, not_after, .. }) => {
                headers.push((header::ID, id.to_string()));
                headers.extend(expected.map(|version| (header::EXPECTED_VERSION, version.to_string())));
                headers.extend(limit(not_after));
                (name.clone(), data.clone())
            }
            What::Batch { id, items, not_after } => {
                headers.push((header::ID, id.to_string()));
                headers.extend(limit(not_after));
                (CommandName::run(), batch_body(items))
            }
            What::Void { own, id, .. } => {
                headers.push((header::ID, own.to_string()));
                headers.push((header::VOID, id.to_string()));
                (void(), Bytes::new())
            }
        };
        let subject = CommandSubject { principal: principal.clone(), aggregate: self.aggregate(), name }.to_string();
        let subject = format!("work.000.{}", subject.strip_prefix("cmd.").expect("a command's subject begins so"));
        Delivery { subject, headers, body, stored_at, ticket: Ticket(String::new()) }
    }
}

fn batch_body(items: &[BatchItem]) -> Bytes {
    let items = items.iter().map(|item| match item {
        BatchItem::Command(command) => command.to_item().expect("its data was written from a value"),
        BatchItem::Check(aggregate, version) => item::check(aggregate, *version),
    });
    let items: Vec<String> = items.collect();
    item::body(true, items.iter().map(String::as_str)).into()
}
