//! What has become of every aggregate? The states of a store, folded commit by commit: what a processor would have in memory
//! if it had room for all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::aggregate::{Folded, Service};
use crate::model::error::with_sources;
use crate::model::{AggregateId, AggregateType, Change, Commit, Key, Snapshot, Version};

/// The states of a store, as far as its commits were shown.
#[derive(Debug)]
pub struct States {
    service: Arc<Service>,
    /// By what can be looked up as it lies in a commit: of a million commits, few are the first of their aggregate. A service
    /// has a few types, which are found sooner by comparing than by hashing.
    folded: BTreeMap<AggregateType, HashMap<Key, Result<Folded, String>>>,
    /// Types of which something has happened, and that are not served.
    not_served: BTreeSet<AggregateType>,
}

impl States {
    /// Before the first commit.
    pub fn new(service: Arc<Service>) -> States {
        States { service, folded: BTreeMap::new(), not_served: BTreeSet::new() }
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
        match self.find(aggregate) {
            Some(folded) => folded.clone(),
            None => self.service.start(&aggregate.kind).ok_or_else(|| not_served(&aggregate.kind)),
        }
    }

    fn find(&self, aggregate: &AggregateId) -> Option<&Result<Folded, String>> {
        self.folded.get(&aggregate.kind)?.get(&aggregate.key)
    }

    /// Lets the events of a commit have happened. Aggregates that are not served have no state.
    ///
    /// # Errors
    /// Today's code cannot read or fold an event. It is said once; the aggregate has no state from then on.
    pub fn apply(&mut self, commit: &Commit) -> Result<(), String> {
        match commit.change() {
            Ok(change) => self.follow(change),
            Err(error) => {
                let aggregate = commit.command.aggregate.clone();
                let why = format!("{aggregate}: {}", with_sources(&error));
                self.keep(aggregate, Err(why))
            }
        }
    }

    /// The same, of a commit that was not read in full: [`CommitReader::changes`](crate::store::CommitReader::changes) shows
    /// those of a store.
    ///
    /// # Errors
    /// As [`States::apply`].
    pub fn follow(&mut self, change: Change<'_>) -> Result<(), String> {
        if change.events.is_empty() {
            return Ok(());
        }
        if let Some(folded) = self.folded.get_mut(&*change.kind).and_then(|of_kind| of_kind.get_mut(&*change.key)) {
            let Ok(state) = folded else { return Ok(()) };
            let Err(error) = state.apply_change(change) else { return Ok(()) };
            let why = with_sources(&error);
            *folded = Err(why.clone());
            return Err(why);
        }
        let aggregate = change.aggregate().map_err(|error| format!("position {}: {error}", change.position))?;
        let Some(mut folded) = self.service.start(&aggregate.kind) else {
            self.not_served.insert(aggregate.kind);
            return Ok(());
        };
        let applied = folded.apply_change(change);
        self.keep(aggregate, applied.map(|()| folded).map_err(|error| with_sources(&error)))
    }

    fn keep(&mut self, aggregate: AggregateId, folded: Result<Folded, String>) -> Result<(), String> {
        let said = folded.as_ref().map(|_| ()).map_err(Clone::clone);
        self.folded.entry(aggregate.kind).or_default().insert(aggregate.key, folded);
        said
    }

    /// Every state that could be folded, in no order.
    pub fn all(&self) -> impl Iterator<Item = (AggregateId, &Folded)> {
        let all =
            self.folded.iter().flat_map(|(kind, of_kind)| of_kind.iter().map(move |(key, folded)| (kind, key, folded)));
        all.filter_map(|(kind, key, folded)| {
            Some((AggregateId { kind: kind.clone(), key: key.clone() }, folded.as_ref().ok()?))
        })
    }

    /// The same as JSON, in the order of the aggregates' names.
    pub fn snapshots(&self) -> impl Iterator<Item = (AggregateId, Snapshot)> {
        let mut all: Vec<_> = self.all().collect();
        all.sort_by(|(left, _), (right, _)| left.cmp(right));
        all.into_iter().filter_map(|(aggregate, folded)| {
            let snapshot = self.service.snapshot(&aggregate, folded)?;
            Some((aggregate, snapshot))
        })
    }

    /// Of what no state can be told, and why: an aggregate, or all of a type that is not served.
    pub fn untold(&self) -> Vec<String> {
        let folded = self.folded.values().flat_map(HashMap::values);
        let mut untold: Vec<String> = folded.filter_map(|folded| folded.as_ref().err().cloned()).collect();
        untold.extend(self.not_served.iter().map(not_served));
        untold.sort();
        untold
    }

    /// How many events of an aggregate are folded.
    pub fn version(&self, aggregate: &AggregateId) -> Version {
        let folded = self.find(aggregate).and_then(|folded| folded.as_ref().ok());
        folded.map_or(Version(0), |folded| folded.version)
    }

    /// Whether a recorded state is the one that today's code folds; `None`: nothing can be said, since another fold made
    /// it, or there is none.
    pub fn agrees(&self, aggregate: &AggregateId, recorded: &Snapshot) -> Option<bool> {
        let folded = self.find(aggregate)?.as_ref().ok()?;
        self.service.agrees(aggregate, recorded, folded)
    }
}

fn not_served(kind: &AggregateType) -> String {
    format!("{kind} is not served")
}
