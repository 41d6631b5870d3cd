//! A command on its way out: what is sent, as it was prepared, and the message that comes of it.

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::error::EncodeError;
use crate::aggregate::{Address, Aggregate, name_and_data};
use crate::model::item;
use crate::model::limits::COMMAND_BYTES_MAX;
use crate::model::subject::{CommandSubject, GrammarError, QuerySubject};
use crate::model::{AggregateId, AggregateType, CommandId, CommandName, Key, Principal, Timestamp, Version, header};

/// A command without types: what a file or a command line holds.
#[derive(Debug, Clone)]
pub struct RawCommand {
    /// The sender's id for it. The same command again has the same id.
    pub id: CommandId,
    /// Whom it is addressed to.
    pub aggregate: AggregateId,
    /// Which command.
    pub name: CommandName,
    /// Its fields: a JSON object, or nothing.
    pub data: Bytes,
    /// Decide only if the aggregate has had exactly so many events; 0: it must not exist.
    pub expected: Option<Version>,
    /// Decided later than that, it is rejected as `expired`.
    pub not_after: Option<Timestamp>,
}

impl RawCommand {
    /// As an item of a batch.
    ///
    /// # Errors
    /// Its data is not JSON, and would make the whole batch unreadable.
    pub(crate) fn to_item(&self) -> Result<String, serde_json::Error> {
        item::command(&self.id, &self.aggregate, &self.name, self.expected, &self.data)
    }
}

/// A typed command with all that may be said about it, to be sent by [`Client::send_all`](super::Client::send_all).
///
/// ```
/// use hapax::client::Prepared;
/// use hapax::samples::{Account, AccountCommand};
/// use hapax::{Aggregate, CommandId};
///
/// let id = CommandId::parse("deposit-2026-11-0042").unwrap();
/// let deposit = Prepared::new(Account::at("42"), AccountCommand::Deposit { amount: 100 }).id(id);
/// ```
#[derive(Debug, Clone)]
pub struct Prepared<A: Aggregate> {
    to: Address<A>,
    command: A::Command,
    id: Option<CommandId>,
    expected: Option<Version>,
    not_after: Option<Timestamp>,
}

impl<A: Aggregate> Prepared<A> {
    /// A command to one aggregate, with an id of its own unless [`Prepared::id`] gives it one.
    pub fn new(to: Address<A>, command: A::Command) -> Prepared<A> {
        Prepared { to, command, id: None, expected: None, not_after: None }
    }

    /// The id it is sent with. Who may send it again after a crash chooses the id and keeps it first; without one it
    /// gets a UUIDv7.
    #[must_use]
    pub fn id(mut self, id: CommandId) -> Prepared<A> {
        self.id = Some(id);
        self
    }

    /// Decide it only if the aggregate has had exactly so many events; 0: it must not exist.
    #[must_use]
    pub fn expect(mut self, version: Version) -> Prepared<A> {
        self.expected = Some(version);
        self
    }

    /// Decided later than that, it is rejected as `expired`.
    #[must_use]
    pub fn not_after(mut self, time: Timestamp) -> Prepared<A> {
        self.not_after = Some(time);
        self
    }

    /// Without its types.
    ///
    /// # Errors
    /// [`EncodeError`], for a key that is no token or a command that is no externally tagged enum.
    pub fn into_raw(self) -> Result<RawCommand, EncodeError> {
        let (name, data) = name_and_data(&self.command).map_err(EncodeError::Json)?;
        Ok(RawCommand {
            id: self.id.unwrap_or_else(|| Uuid::now_v7().into()),
            aggregate: aggregate_id(&self.to)?,
            name: CommandName::parse(&name).map_err(in_subject("the command", &name))?,
            data: Bytes::from(Box::<str>::from(data).into_string()),
            expected: self.expected,
            not_after: self.not_after,
        })
    }
}

/// Which aggregate an address means.
pub(super) fn aggregate_id<A: Aggregate>(address: &Address<A>) -> Result<AggregateId, EncodeError> {
    Ok(AggregateId {
        kind: AggregateType::parse(A::TYPE).map_err(in_subject("the aggregate's type", A::TYPE))?,
        key: Key::parse(&address.key).map_err(in_subject("the key", &address.key))?,
    })
}

fn in_subject(what: &'static str, text: &str) -> impl FnOnce(GrammarError) -> EncodeError {
    let text = text.to_owned();
    move |source| EncodeError::Subject { what, text, source }
}

/// The message that each copy of a command is, save where it asks to be answered.
#[derive(Debug)]
pub(super) struct Parcel {
    /// The id whose outcome is wanted.
    pub(super) id: CommandId,
    /// Where that outcome can be asked for.
    pub(super) question: String,
    /// What such a question says of the command, as members of its JSON: an outcome of something else under the same id
    /// is not the answer. A void takes any.
    pub(super) content: String,
    /// Independent commands have no outcome together. What is asked for is that of one of them: where it is known, so are
    /// the others, and another copy gets them all.
    pub(super) asks_for_one_of_many: bool,
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Parcel {
    pub(super) fn of(principal: &Principal, command: RawCommand) -> Result<Parcel, EncodeError> {
        let RawCommand { id, aggregate, name, data, expected, not_after } = command;
        let (bytes, bytes_max) = (data.len(), COMMAND_BYTES_MAX);
        if bytes_max < bytes {
            return Err(EncodeError::TooLarge { bytes, bytes_max });
        }
        let mut headers = headers_of(&id, not_after);
        if let Some(version) = expected {
            headers.insert(header::EXPECTED_VERSION, version.to_string());
        }
        let content = content_members(&name, expected, &data);
        Ok(Parcel::new(principal, id, aggregate, name, headers, data, content))
    }

    /// An atomic batch; `body` is its JSON, with this key's aggregates among its items.
    pub(super) fn batch(
        principal: &Principal,
        key: Key,
        id: CommandId,
        not_after: Option<Timestamp>,
        body: String,
    ) -> Parcel {
        let content = format!(r#","command":"{}","data":{body}"#, CommandName::RUN);
        let (headers, aggregate) = (headers_of(&id, not_after), batch_at(key));
        Parcel::new(principal, id, aggregate, CommandName::run(), headers, body.into(), content)
    }

    /// Independent commands in one batch; `body` is their JSON, with `first` at its beginning.
    pub(super) fn independent(principal: &Principal, first: &RawCommand, body: String) -> Parcel {
        // Nothing is recorded under this id: what may be sent again are the commands.
        let id = CommandId::from(Uuid::now_v7());
        let (headers, aggregate) = (headers_of(&id, first.not_after), batch_at(first.aggregate.key.clone()));
        let content = content_members(&first.name, first.expected, &first.data);
        let batch = Parcel::new(principal, id, aggregate, CommandName::run(), headers, body.into(), content);
        Parcel { question: question(principal, &first.aggregate, &first.id), asks_for_one_of_many: true, ..batch }
    }

    /// What settles `id` if nothing else has. It has an id of its own, and what is wanted is the outcome of the other.
    pub(super) fn void(principal: &Principal, aggregate: AggregateId, id: CommandId) -> Parcel {
        let name = CommandName::parse(CommandName::VOID).expect("the protocol's own name is a token");
        let mut headers = HeaderMap::new();
        headers.insert(header::ID, Uuid::now_v7().to_string());
        headers.insert(header::VOID, id.as_str());
        Parcel::new(principal, id, aggregate, name, headers, Bytes::new(), String::new())
    }

    fn new(
        principal: &Principal,
        id: CommandId,
        aggregate: AggregateId,
        name: CommandName,
        headers: HeaderMap,
        body: Bytes,
        content: String,
    ) -> Parcel {
        let question = question(principal, &aggregate, &id);
        let subject = CommandSubject { principal: principal.clone(), aggregate, name }.to_string();
        Parcel { id, question, content, asks_for_one_of_many: false, subject, headers, body }
    }
}

fn question(principal: &Principal, aggregate: &AggregateId, id: &CommandId) -> String {
    let (principal, aggregate, id) = (principal.clone(), aggregate.clone(), id.clone());
    QuerySubject::Outcome { principal, aggregate, id }.to_string()
}

/// Where batches of this key's partition go.
pub(super) fn batch_at(key: Key) -> AggregateId {
    let kind = AggregateType::parse(AggregateType::BATCH).expect("the protocol's own type is a token");
    AggregateId { kind, key }
}

/// `insert` panics on CR and LF. None can be in what our own types have checked or written.
fn headers_of(id: &CommandId, not_after: Option<Timestamp>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ID, id.as_str());
    if let Some(time) = not_after {
        headers.insert(header::NOT_AFTER, time.to_string());
    }
    headers
}

/// Nothing, if the body is no JSON: such a command is never decided, so no outcome can be its own.
fn content_members(name: &CommandName, expected: Option<Version>, data: &Bytes) -> String {
    let data = if data.iter().all(u8::is_ascii_whitespace) { b"{}" } else { &data[..] };
    let Ok(data) = serde_json::from_slice::<&RawValue>(data) else { return String::new() };
    let expected = expected.map(|version| format!(r#","expected_version":{version}"#)).unwrap_or_default();
    format!(r#","command":{}{expected},"data":{data}"#, serde_json::Value::from(name.as_str()))
}
