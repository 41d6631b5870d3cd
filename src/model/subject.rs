//! The grammar of subjects: who (principal), what (aggregate, key), and what for (command). A subject is what NATS
//! permissions can be bound to, so everything that decides about rights is in it and nowhere else.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use super::command::{AggregateId, CommandId};
use super::commit::Commit;
use super::json::Text;
use super::limits::{REPLY_SUBJECT_BYTES_MAX, TOKEN_BYTES_MAX};

/// Why a text is not what it should be. `Display` says what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// A token of a subject has a byte that NATS or the contract does not allow, or a length outside the bounds.
    #[error("a token is 1 to {TOKEN_BYTES_MAX} bytes of printable ASCII without space, '.', '*' and '>'")]
    Token,
    /// A subject has another number of tokens, or another first token, than it should.
    #[error("the subject is not {0}")]
    Subject(&'static str),
    /// A command id has other characters or another length.
    #[error("a command id is 16 to 64 characters of A-Z, a-z, 0-9, '_' and '-'")]
    Id,
    /// An aggregate is written `type/key`.
    #[error("an aggregate is written type/key, like account/42")]
    Aggregate,
}

fn is_token(text: &str) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'>'))
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// Checks the grammar of a token: 1 to 128 bytes of printable ASCII without space, `.`, `*`, `>`.
            ///
            /// # Errors
            /// [`GrammarError::Token`].
            pub fn parse(text: &str) -> Result<$name, GrammarError> {
                if is_token(text) { Ok($name(text.into())) } else { Err(GrammarError::Token) }
            }

            /// The token as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        /// Equal and hashed as its text.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let Text(text) = Text::deserialize(deserializer)?;
                $name::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

token! {
    /// Who sent the command: the token of the subject that NATS permissions bind to the authenticated user.
    Principal
}
token! {
    /// The type of an aggregate, as its author names it: `account` in `account/42`.
    AggregateType
}
token! {
    /// Which one of its type: `42` in `account/42`. The partition is chosen by it.
    Key
}
token! {
    /// What is to be done: `deposit`. Names that begin with `_` are the protocol's own.
    CommandName
}

token! {
    /// What a projection is asked for under.
    ProjectionName
}

impl AggregateType {
    /// Stands in a subject where the aggregate of a command does: what is addressed is a batch. The protocol's own.
    pub const BATCH: &'static str = "_batch";

    /// Whether this stands for a batch.
    pub fn is_batch(&self) -> bool {
        self.as_str() == AggregateType::BATCH
    }
}

impl CommandName {
    /// What is to be done with a batch.
    pub const RUN: &'static str = "run";

    /// The command that settles an id that its sender gives up: see `Hapax-Void`.
    pub const VOID: &'static str = "_void";

    /// The name [`CommandName::RUN`].
    pub fn run() -> CommandName {
        CommandName(CommandName::RUN.into())
    }

    /// Whether this is the protocol's own `_void`.
    pub fn is_void(&self) -> bool {
        self.as_str() == CommandName::VOID
    }
}

/// Where a command is published: `cmd.<principal>.<aggregate>.<key>.<command>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSubject {
    /// Who sends it.
    pub principal: Principal,
    /// The aggregate it is addressed to.
    pub aggregate: AggregateId,
    /// The command.
    pub name: CommandName,
}

impl CommandSubject {
    /// Reads the subject under which the stream stores a command: the server's transform has put
    /// `work.<partition>.` in the place of `cmd.`.
    ///
    /// # Errors
    /// [`GrammarError::Subject`] for another shape, [`GrammarError::Token`] for a token out of bounds.
    pub fn parse_stored(subject: &str) -> Result<CommandSubject, GrammarError> {
        const SHAPE: GrammarError = GrammarError::Subject("work.<partition>.<principal>.<aggregate>.<key>.<command>");
        let mut tokens = subject.split('.');
        let (Some("work"), Some(_partition)) = (tokens.next(), tokens.next()) else { return Err(SHAPE) };
        let (Some(principal), Some(kind), Some(key), Some(name), None) =
            (tokens.next(), tokens.next(), tokens.next(), tokens.next(), tokens.next())
        else {
            return Err(SHAPE);
        };
        Ok(CommandSubject {
            principal: Principal::parse(principal)?,
            aggregate: AggregateId { kind: AggregateType::parse(kind)?, key: Key::parse(key)? },
            name: CommandName::parse(name)?,
        })
    }

    /// The subject under which the stream of a partition stores it.
    pub fn as_stored(&self, partition: u32) -> String {
        let CommandSubject { principal, aggregate: AggregateId { kind, key }, name } = self;
        format!("work.{partition}.{principal}.{kind}.{key}.{name}")
    }
}

impl fmt::Display for CommandSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CommandSubject { principal, aggregate: AggregateId { kind, key }, name } = self;
        write!(f, "cmd.{principal}.{kind}.{key}.{name}")
    }
}

/// Where the feed has a commit: `evt.<partition>.<aggregate>.<key>` if it was accepted, `rej.…` if it was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedSubject<'a> {
    /// The partition.
    pub partition: u32,
    /// Whether the command was accepted.
    pub accepted: bool,
    /// The aggregate that it was addressed to.
    pub aggregate: &'a AggregateId,
}

impl<'a> FeedSubject<'a> {
    /// Of a commit.
    pub fn of(partition: u32, commit: &'a Commit) -> FeedSubject<'a> {
        FeedSubject { partition, accepted: commit.accepted, aggregate: &commit.command.aggregate }
    }
}

impl fmt::Display for FeedSubject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FeedSubject { partition, accepted, aggregate: AggregateId { kind, key } } = self;
        write!(f, "{}.{partition}.{kind}.{key}", if *accepted { "evt" } else { "rej" })
    }
}

/// What a query asks, as its subject says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuerySubject {
    /// `qry.<principal>.outcome.<aggregate>.<key>.<id>`
    Outcome {
        /// Who asks; also the sender of the command that is asked for.
        principal: Principal,
        /// The aggregate that the command was addressed to.
        aggregate: AggregateId,
        /// The command's id.
        id: CommandId,
    },
    /// `qry.<principal>.state.<aggregate>.<key>`
    State {
        /// Who asks.
        principal: Principal,
        /// The aggregate whose state is asked for.
        aggregate: AggregateId,
    },
    /// `qry.<principal>.health`
    Health {
        /// Who asks.
        principal: Principal,
    },
}

impl QuerySubject {
    /// Reads a query's subject.
    ///
    /// # Errors
    /// [`GrammarError`] with what is wrong: the shape, a token, or the id.
    pub fn parse(subject: &str) -> Result<QuerySubject, GrammarError> {
        let tokens: Vec<&str> = subject.split('.').collect();
        match tokens[..] {
            ["qry", principal, "outcome", kind, key, id] => Ok(QuerySubject::Outcome {
                principal: Principal::parse(principal)?,
                aggregate: AggregateId { kind: AggregateType::parse(kind)?, key: Key::parse(key)? },
                id: CommandId::parse(id)?,
            }),
            ["qry", principal, "state", kind, key] => Ok(QuerySubject::State {
                principal: Principal::parse(principal)?,
                aggregate: AggregateId { kind: AggregateType::parse(kind)?, key: Key::parse(key)? },
            }),
            ["qry", principal, "health"] => Ok(QuerySubject::Health { principal: Principal::parse(principal)? }),
            _ => Err(GrammarError::Subject(
                "qry.<principal>.outcome.<aggregate>.<key>.<id>, qry.<principal>.state.<aggregate>.<key> \
                 or qry.<principal>.health",
            )),
        }
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        match self {
            QuerySubject::Outcome { principal, .. }
            | QuerySubject::State { principal, .. }
            | QuerySubject::Health { principal } => principal,
        }
    }
}

impl fmt::Display for QuerySubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuerySubject::Outcome { principal, aggregate: AggregateId { kind, key }, id } => {
                write!(f, "qry.{principal}.outcome.{kind}.{key}.{id}")
            }
            QuerySubject::State { principal, aggregate: AggregateId { kind, key } } => {
                write!(f, "qry.{principal}.state.{kind}.{key}")
            }
            QuerySubject::Health { principal } => write!(f, "qry.{principal}.health"),
        }
    }
}

/// What a projection is asked, as the subject says it. Not a query of `qry.`: its rows are folded from what every principal
/// has done, so the right to ask for them is granted apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectionSubject {
    /// Who asks.
    pub principal: Principal,
    /// The projection.
    pub projection: ProjectionName,
    /// What.
    pub asked: Asked,
}

/// What is asked of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// `prj.<principal>.<projection>.lag`: how far it has come, and how far it is behind.
    Lag,
    /// `prj.<principal>.<projection>.row.<key>`; `None`: `prj.<principal>.<projection>.row`, with the key in the body, for
    /// one that is no token. Whoever may use that one may ask for every row.
    Row(Option<Key>),
}

impl ProjectionSubject {
    /// Reads the subject of a question.
    ///
    /// # Errors
    /// [`GrammarError`] with what is wrong.
    pub fn parse(subject: &str) -> Result<ProjectionSubject, GrammarError> {
        let tokens: Vec<&str> = subject.split('.').collect();
        let (principal, projection, asked) = match tokens[..] {
            ["prj", principal, projection, "lag"] => (principal, projection, Asked::Lag),
            ["prj", principal, projection, "row"] => (principal, projection, Asked::Row(None)),
            ["prj", principal, projection, "row", key] => (principal, projection, Asked::Row(Some(Key::parse(key)?))),
            _ => {
                return Err(GrammarError::Subject(
                    "prj.<principal>.<projection>.lag, prj.<principal>.<projection>.row.<key> \
                     or prj.<principal>.<projection>.row",
                ));
            }
        };
        let (principal, projection) = (Principal::parse(principal)?, ProjectionName::parse(projection)?);
        Ok(ProjectionSubject { principal, projection, asked })
    }
}

impl fmt::Display for ProjectionSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProjectionSubject { principal, projection, asked } = self;
        match asked {
            Asked::Lag => write!(f, "prj.{principal}.{projection}.lag"),
            Asked::Row(Some(key)) => write!(f, "prj.{principal}.{projection}.row.{key}"),
            Asked::Row(None) => write!(f, "prj.{principal}.{projection}.row"),
        }
    }
}

/// Whether `subject` is an inbox of this principal: `_INBOX.<principal>.…`, without wildcards. The processor may publish
/// more than its callers, so it answers nowhere else.
pub fn is_inbox_of(principal: &Principal, subject: &str) -> bool {
    subject.len() <= REPLY_SUBJECT_BYTES_MAX
        && subject
            .strip_prefix("_INBOX.")
            .and_then(|rest| rest.strip_prefix(principal.as_str()))
            .and_then(|rest| rest.strip_prefix('.'))
            .is_some_and(|rest| rest.split('.').all(is_token))
}
