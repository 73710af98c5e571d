//! The payload of a medium: files back to back that hold the distinct frames.
//!
//! Reading goes on when the medium is pulled out and comes back, on whatever device: who reads waits for it.

pub(crate) mod parts;

use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::config;
use crate::deploy::Source;
use crate::medium::Medium;
use crate::stop::{Result, Stop};
use crate::volume::Volume;
use parts::Part;

/// How often a thread looks whether the others let go of a medium that is gone.
const MOMENT: Duration = Duration::from_millis(5);

/// How the medium is had again: from the one that failed, the same or another one, and whether it was gone.
pub type Again<'a> = &'a (dyn Fn(Medium) -> Result<(Medium, bool)> + Sync);

/// The opened payload.
pub struct Payload<'a> {
    length: u64,
    /// The medium; `None` while it is gone.
    held: RwLock<Option<Arc<Held>>>,
    /// Who waits for the medium, the others after it.
    turn: Mutex<u64>,
    /// Why it did not come back.
    ended: Mutex<Option<Stop>>,
    again: Again<'a>,
}

#[derive(Debug)]
struct Held {
    medium: Medium,
    parts: Vec<Placed>,
    /// How often the medium was opened before.
    generation: u64,
}

/// A payload file, and where it begins in the volume.
#[derive(Debug)]
struct Placed {
    part: Part,
    at: u64,
}

impl AsRef<Part> for Placed {
    fn as_ref(&self) -> &Part {
        &self.part
    }
}

impl<'a> Payload<'a> {
    /// Finds `ramforge/frames.000` and its successors on the medium, where `length` bytes are expected.
    ///
    /// # Errors
    /// A sentence where a file is missing or the files are shorter than `length`.
    pub fn open(medium: Medium, length: u64, again: Again<'a>) -> Result<Self> {
        let held = Held::new(medium, length, 0)?;
        Ok(Self {
            length,
            held: RwLock::new(Some(Arc::new(held))),
            turn: Mutex::new(0),
            ended: Mutex::new(None),
            again,
        })
    }

    /// The medium; `None` where it was lost and did not come back.
    pub fn into_medium(self) -> Option<Medium> {
        let held = self.held.into_inner();
        let held = held.unwrap_or_else(PoisonError::into_inner)?;
        Arc::into_inner(held).map(|held| held.medium)
    }

    fn held(&self) -> Option<Arc<Held>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    /// Opens the medium anew, and says whether it was gone. `generation` is that of the failure.
    fn renew(&self, generation: u64) -> Result<bool> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if *turn != generation {
            return Ok(true);
        }
        let replace = |held| {
            let mut place = self.held.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *place, held)
        };
        let Some(mut lost) = replace(None) else {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = || Stop::new("the medium is gone", "plug it in and try again");
            return Err(ended.clone().unwrap_or_else(gone));
        };
        // Others still read from it, and fail soon.
        let lost = loop {
            match Arc::try_unwrap(lost) {
                Ok(held) => break held.medium,
                Err(still) => lost = still,
            }
            std::thread::sleep(MOMENT);
        };
        let back = (self.again)(lost).and_then(|(medium, was_gone)| {
            let held = Held::new(medium, self.length, generation + 1)?;
            Ok((held, was_gone))
        });
        let (held, was_gone) = back.inspect_err(|stop| {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            *ended = Some(stop.clone());
        })?;
        *turn = generation + 1;
        replace(Some(Arc::new(held)));
        Ok(was_gone)
    }
}

impl Held {
    fn new(medium: Medium, length: u64, generation: u64) -> Result<Self> {
        let parts = placed(&medium.volume, length)?;
        Ok(Self {
            medium,
            parts,
            generation,
        })
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut rest = bytes;
        for (part, at, length) in parts::pieces(&self.parts, offset, rest.len() as u64) {
            let (now, later) = rest.split_at_mut(length as usize);
            self.medium.volume.read(part.at + at, now)?;
            rest = later;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

fn placed(volume: &Volume, length: u64) -> Result<Vec<Placed>> {
    let mut parts: Vec<Placed> = Vec::new();
    let mut end = 0;
    while end < length {
        let name = config::frames_on_medium(parts.len());
        let Some(extent) = volume.find(&name) else {
            return Err(Stop::new(
                format!(
                    "the medium is short: /{name} is missing, {end} of {length} payload bytes are there"
                ),
                "write the ISO to the medium again and compare its checksum",
            ));
        };
        let part = Part {
            name,
            start: end,
            length: extent.len,
        };
        let at = extent.offset;
        parts.push(Placed { part, at });
        end += extent.len;
    }
    Ok(parts)
}

impl Source for Payload<'_> {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut renewed = false;
        loop {
            let Some(held) = self.held() else {
                // Another thread waits for it.
                let turn = *self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                if self.held().is_none() {
                    self.renew(turn).map_err(io::Error::other)?;
                }
                continue;
            };
            let Err(error) = held.read(offset, bytes) else {
                return Ok(());
            };
            let generation = held.generation;
            drop(held);
            // The medium is there, was opened anew, and fails again: this place cannot be read.
            if renewed {
                return Err(error);
            }
            renewed = !self.renew(generation).map_err(io::Error::other)?;
        }
    }

    fn forget(&self, offset: u64, length: u64) {
        let Some(held) = self.held() else { return };
        for (part, at, length) in parts::pieces(&held.parts, offset, length) {
            held.medium.volume.forget(part.at + at, length);
        }
    }

    fn place(&self, offset: u64) -> String {
        let words = |held: &Arc<Held>| {
            let (part, at, _) = parts::pieces(&held.parts, offset, 1).next()?;
            Some(format!("/{} offset {at}", part.part.name))
        };
        let found = self.held().as_ref().and_then(words);
        found.unwrap_or_else(|| format!("payload offset {offset}"))
    }
}

#[cfg(test)]
mod tests;
