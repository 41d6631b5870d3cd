//! What does the aggregate say? Time limit and expected version first, then `decide`; nothing is changed here.

use crate::aggregate::service::{DecideError, Decided, State};
use crate::aggregate::{Context, Folded};
use crate::model::error::caught;
use crate::model::limits::OUTCOME_BYTES_MAX;
use crate::model::{Command, RecordedEvent, Refusal, Rejection, Timestamp};

/// The answer to a new command.
#[derive(Debug)]
pub(super) enum Verdict {
    /// These events, and the state after them. Recorded.
    Accepted { events: Vec<RecordedEvent>, next: Box<dyn State> },
    /// No. Recorded.
    Rejected(Rejection),
    /// The aggregate cannot read the command. Not recorded.
    Refused(Refusal),
    /// The aggregate's code panicked. Not recorded; the command goes into quarantine.
    Panicked(String),
}

/// Decides a command on a state. The same state, command and time give the same verdict, always.
pub(super) fn guard(folded: &Folded, command: &Command, time: Timestamp) -> Verdict {
    if command.name.is_void() {
        return Verdict::Rejected(Rejection::voided());
    }
    if let Some(not_after) = command.not_after
        && time > not_after
    {
        return Verdict::Rejected(Rejection::expired(not_after, time));
    }
    if let Some(expected) = command.expected
        && expected != folded.version
    {
        return Verdict::Rejected(Rejection::version_mismatch(expected, folded.version));
    }
    decide(folded, command, time)
}

fn decide(folded: &Folded, command: &Command, time: Timestamp) -> Verdict {
    let context = Context { time, principal: &command.identity.principal, id: &command.identity.id };
    match caught(|| folded.state.decide(command.name.as_str(), &command.data, &context)) {
        Ok(Ok(Decided::Accepted { events, next })) => match too_large(events.iter().map(event_bytes).sum()) {
            Some(rejection) => Verdict::Rejected(rejection),
            None => Verdict::Accepted { events, next },
        },
        Ok(Ok(Decided::Rejected(rejection))) => {
            Verdict::Rejected(too_large(rejection_bytes(&rejection)).unwrap_or(rejection))
        }
        Ok(Err(DecideError::UnknownCommand { known })) => {
            Verdict::Refused(Refusal::unknown_command(&command.aggregate, command.name.as_str(), known))
        }
        Ok(Err(DecideError::Malformed(error))) => Verdict::Refused(Refusal::malformed("body", error)),
        Ok(Err(DecideError::Unwritable(error))) => Verdict::Panicked(format!("its decision is not JSON: {error}")),
        Err(panic) => Verdict::Panicked(panic),
    }
}

/// Bytes of an event in the recorded list. With its frame: a thousand events without fields are not nothing.
fn event_bytes(event: &RecordedEvent) -> usize {
    const FRAME_BYTES: usize = r#"{"type":,"schema":4294967295,"data":},"#.len();
    FRAME_BYTES + string_bytes(&event.kind) + event.data.get().len()
}

/// Bytes of what an aggregate says in a rejection.
pub(super) fn rejection_bytes(rejection: &Rejection) -> usize {
    rejection.details.as_ref().map_or(0, |details| details.get().len()) + string_bytes(&rejection.message)
}

/// Bytes of a text as a JSON string; an escape may be six times as long as what it stands for.
fn string_bytes(text: &str) -> usize {
    let escaped = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..0x20 => 6,
        _ => 1,
    });
    2 + escaped.sum::<usize>()
}

fn too_large(bytes: usize) -> Option<Rejection> {
    (bytes > OUTCOME_BYTES_MAX).then(|| Rejection::outcome_too_large(bytes, OUTCOME_BYTES_MAX))
}
