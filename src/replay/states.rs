//! The state of every aggregate, folded commit by commit: what a processor would have in memory if it had room for all.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aggregate::{Folded, Service};
use crate::model::error::with_sources;
use crate::model::{AggregateId, Commit, Snapshot, Version};

/// The states of a store, as far as its commits were shown.
#[derive(Debug)]
pub struct States {
    service: Arc<Service>,
    folded: BTreeMap<AggregateId, Result<Folded, String>>,
}

impl States {
    /// Before the first commit.
    pub fn new(service: Arc<Service>) -> States {
        States { service, folded: BTreeMap::new() }
    }

    /// The service whose aggregates they are.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The state of an aggregate, or why it cannot be folded.
    ///
    /// # Errors
    /// Its type is not served, or what was recorded of it cannot be read by today's code.
    pub fn get(&self, aggregate: &AggregateId) -> Result<Folded, String> {
        match self.folded.get(aggregate) {
            Some(folded) => folded.clone(),
            None => self.start(aggregate),
        }
    }

    fn start(&self, aggregate: &AggregateId) -> Result<Folded, String> {
        self.service.start(&aggregate.kind).ok_or_else(|| format!("{} is not served", aggregate.kind))
    }

    /// Lets the events of a commit have happened. Aggregates that are not served have no state.
    ///
    /// # Errors
    /// Today's code cannot read or fold an event. It is said once; the aggregate has no state from then on.
    pub fn apply(&mut self, commit: &Commit) -> Result<(), String> {
        let aggregate = &commit.command.aggregate;
        if commit.event_count == 0 || !self.service.serves(&aggregate.kind) {
            return Ok(());
        }
        if !self.folded.contains_key(aggregate) {
            self.folded.insert(aggregate.clone(), self.start(aggregate));
        }
        let Some(Ok(folded)) = self.folded.get_mut(aggregate) else { return Ok(()) };
        let Err(error) = folded.apply(commit) else { return Ok(()) };
        let why = with_sources(&error);
        self.folded.insert(aggregate.clone(), Err(why.clone()));
        Err(why)
    }

    /// Every state that could be folded, as JSON, in the order of the aggregates' names.
    pub fn snapshots(&self) -> impl Iterator<Item = (&AggregateId, Snapshot)> {
        self.folded.iter().filter_map(|(aggregate, folded)| {
            let snapshot = self.service.snapshot(aggregate, folded.as_ref().ok()?)?;
            Some((aggregate, snapshot))
        })
    }

    /// How many events of an aggregate are folded.
    pub fn version(&self, aggregate: &AggregateId) -> Version {
        let folded = self.folded.get(aggregate).and_then(|folded| folded.as_ref().ok());
        folded.map_or(Version(0), |folded| folded.version)
    }

    /// Whether a recorded state is the one that today's code folds; `None`: nothing can be said, since another fold made
    /// it, or there is none.
    pub fn agrees(&self, aggregate: &AggregateId, recorded: &Snapshot) -> Option<bool> {
        let folded = self.folded.get(aggregate)?.as_ref().ok()?;
        self.service.agrees(aggregate, recorded, folded)
    }
}
