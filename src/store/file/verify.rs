//! Reads a whole store and checks all that can be checked without the code that made it.

use std::sync::Arc;

use bytes::Bytes;

use super::disk::Fault;
use super::reader::{FileReader, NOT_POISONED, commit_of};
use super::scan::{Chain, Scan};
use super::segment::{self, HEADER_BYTES, Header};
use crate::model::groups::GroupPlace;
use crate::model::{Commit, Position};
use crate::store::{ReadError, Tip};

impl FileReader {
    /// Checks every frame up to the last commit of this reader: marker, length, checksum, positions without a gap, the
    /// chain, what is called durable, and that each segment's header continues the one before. Each commit is shown to
    /// `each`, in order. Returns the end of the store.
    ///
    /// # Errors
    /// [`ReadError::Damage`] at the first thing that is wrong.
    pub fn verify(&self, mut each: impl FnMut(&Commit)) -> Result<Tip, ReadError> {
        let (mut segments, end) = {
            let view = self.shared.view.read().expect(NOT_POISONED);
            (view.sealed.clone(), (view.first, view.file.clone(), view.end))
        };
        segments.push(end.0);
        let mut tip = Tip::empty(self.shared.id);
        for first in segments {
            let (file, bytes) = if first == end.0 {
                (end.1.clone(), end.2)
            } else {
                let file = Arc::new(self.shared.folder.open(&segment::log_name(first)).map_err(Fault::from)?);
                let bytes = file.len().map_err(Fault::from)?;
                (file, bytes)
            };
            let header = Header::read(&file, first)?;
            if header.id != self.shared.id || first != Position::after(tip.position) || header.previous != tip.hash {
                let position = Position::after(tip.position).get();
                return Err(file.damage(0, position, "the segment does not continue the one before").into());
            }
            verify_frames(Scan::new(file, HEADER_BYTES as u64, bytes), &mut tip, &mut each)?;
        }
        Ok(tip)
    }
}

fn verify_frames(mut scan: Scan, tip: &mut Tip, each: &mut impl FnMut(&Commit)) -> Result<(), Fault> {
    let file = scan.file().clone();
    let mut group = GroupPlace::default();
    loop {
        let (offset, position) = (scan.offset(), Position::after(tip.position));
        let damage = |what: String| file.damage(offset, position.get(), what);
        let Some(frame) = scan.next()? else {
            // A segment never ends inside a group, and neither does what is durable.
            return group.end().map_err(|open| damage(open.to_string()).into());
        };
        let frame = frame.map_err(|error| damage(error.to_string()))?;
        let mut chain = Chain { position, hash: tip.hash };
        if chain.follow(&frame).map_err(damage)? {
            let commit = commit_of(&frame, Bytes::copy_from_slice(frame.json), &file, offset, position)?;
            let ends = group.go_on(&commit).map_err(|torn| damage(torn.to_string()))?;
            if ends == frame.goes_on {
                return Err(damage("the frame says something else about its group than the commit".into()).into());
            }
            *tip = Tip::of(&commit);
            each(&commit);
        }
    }
}
