//! An aggregate whose code is wrong, in three releases.

use hapax::{Aggregate, Context};
use serde::{Deserialize, Serialize};

/// `decide` panics on `burst`.
pub(crate) const BURSTS: u8 = 1;
/// `evolve` panics.
pub(crate) const CANNOT_FOLD: u8 = 2;
/// Mended.
pub(crate) const MENDED: u8 = 3;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Vessel<const RELEASE: u8> {
    taps: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VesselCommand {
    Tap,
    Burst,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VesselEvent {
    Tapped,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum VesselRejection {}

impl<const RELEASE: u8> Aggregate for Vessel<RELEASE> {
    const TYPE: &'static str = "vessel";
    type Command = VesselCommand;
    type Event = VesselEvent;
    type Rejection = VesselRejection;

    fn decide(&self, command: VesselCommand, _: &Context<'_>) -> Result<Vec<VesselEvent>, VesselRejection> {
        match command {
            VesselCommand::Burst if RELEASE == BURSTS => panic!("it bursts"),
            VesselCommand::Tap | VesselCommand::Burst => Ok(vec![VesselEvent::Tapped]),
        }
    }

    fn evolve(self, VesselEvent::Tapped: &VesselEvent) -> Vessel<RELEASE> {
        assert!(RELEASE != CANNOT_FOLD, "it cannot fold");
        Vessel { taps: self.taps + 1 }
    }
}
