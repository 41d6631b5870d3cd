//! How much is under way at once, and whether commands travel together.

use crate::model::limits::{BATCH_ITEMS_MAX, IN_FLIGHT_COMMANDS_MAX};

/// How many messages are under way at once: each a command of its own, or a batch of many. A plain number is a window of
/// single commands.
///
/// ```
/// use hapax::client::Window;
///
/// let singles = Window::from(1_024);
/// let batches = Window::from(16).batches_of(100); // So up to 1,600 commands are under way.
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub(super) messages: usize,
    pub(super) packing: Option<Packing>,
}

/// How commands are packed into batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packing {
    pub(super) items: usize,
    pub(super) partitions: u32,
}

impl From<usize> for Window {
    /// 1 to 20,000 messages.
    fn from(messages: usize) -> Window {
        Window { messages: messages.clamp(1, IN_FLIGHT_COMMANDS_MAX), packing: None }
    }
}

impl Window {
    /// Packs commands into independent batches of up to so many (1 to 1,000) and 512 KiB. Each command is decided for
    /// itself and has its own outcome, as if it had been sent alone: only the way is shared.
    #[must_use]
    pub fn batches_of(mut self, commands: usize) -> Window {
        let partitions = self.packing.map_or(1, |packing| packing.partitions);
        self.packing = Some(Packing { items: commands.clamp(1, BATCH_ITEMS_MAX), partitions });
        self
    }

    /// How many partitions the processor has, for batches: one holds commands of one partition only. 1 unless told; what a
    /// wrong number brings to another partition is sent alone, later.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Window {
        if let Some(packing) = &mut self.packing {
            packing.partitions = partitions.max(1);
        }
        self
    }
}
