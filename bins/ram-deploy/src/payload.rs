//! The payload of a medium: files back to back that hold the distinct frames.
//!
//! Reading goes on when the medium is pulled out and comes back, on whatever device: who reads waits for it. Where it is
//! damaged, another medium with the same map takes its place.

pub(crate) mod parts;

use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::config;
use crate::deploy::Source;
use crate::devices::Inserted;
use crate::medium::Medium;
use crate::stop::{Result, Stop};
use crate::volume::Volume;
use parts::Part;

/// How often a thread looks whether the others let go of a medium that is gone.
const MOMENT: Duration = Duration::from_millis(5);
/// Other media that are turned to: a stick that comes and goes is another one each time.
const COPIES: u64 = 16;

/// The media that this machine has.
pub trait Media: Sync {
    /// The medium after a read failed: the same, or one that is none of the `damaged`, and whether it was gone.
    ///
    /// # Errors
    /// A sentence where it does not return in time.
    fn again(&self, lost: Medium, damaged: &[Inserted]) -> Result<(Medium, bool)>;
    /// Another one with the same map, none of the `damaged`.
    fn other(&self, damaged: &[Inserted]) -> Option<Medium>;
    /// Tells a person.
    fn say(&self, line: &str);
}

/// A medium that is the only one, and cannot be plugged in again: a file.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Media for Alone {
    fn again(&self, lost: Medium, _: &[Inserted]) -> Result<(Medium, bool)> {
        Ok((lost, false))
    }

    fn other(&self, _: &[Inserted]) -> Option<Medium> {
        None
    }

    fn say(&self, _: &str) {}
}

/// The opened payload.
pub struct Payload<'a> {
    length: u64,
    /// The medium; `None` while it is gone.
    held: RwLock<Option<Arc<Held>>>,
    /// How often it was opened before. Held by who opens it again; the others wait.
    turn: Mutex<u64>,
    /// Why it did not come back.
    ended: Mutex<Option<Stop>>,
    /// Where a medium with the right map held wrong bytes.
    damaged: Mutex<Vec<Inserted>>,
    media: &'a dyn Media,
}

#[derive(Debug)]
struct Held {
    medium: Medium,
    parts: Vec<Placed>,
    /// How often the medium was opened before.
    generation: u64,
    /// How often it was another one before.
    copy: u64,
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
    pub fn open(medium: Medium, length: u64, media: &'a dyn Media) -> Result<Self> {
        let held = Held::new(medium, length, 0, 0)?;
        Ok(Self {
            length,
            held: RwLock::new(Some(Arc::new(held))),
            turn: Mutex::new(0),
            ended: Mutex::new(None),
            damaged: Mutex::default(),
            media,
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
        let Some(lost) = self.replace(None) else {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = || Stop::new("the medium is gone", "plug it in and try again");
            return Err(ended.clone().unwrap_or_else(gone));
        };
        let copy = lost.copy;
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        let back = self.media.again(alone(lost), &damaged);
        drop(damaged);
        let back = back.and_then(|(medium, was_gone)| {
            let copy = copy + u64::from(was_gone);
            let held = Held::new(medium, self.length, generation + 1, copy)?;
            Ok((held, was_gone))
        });
        let (held, was_gone) = back.inspect_err(|stop| {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            *ended = Some(stop.clone());
        })?;
        *turn = generation + 1;
        self.replace(Some(held));
        Ok(was_gone)
    }

    /// Another medium that is whole as far as its directories tell.
    fn other(&self, damaged: &mut Vec<Inserted>, generation: u64, copy: u64) -> Option<Held> {
        loop {
            let medium = self.media.other(damaged)?;
            let inserted = medium.device.inserted();
            match Held::new(medium, self.length, generation, copy) {
                Ok(held) => return Some(held),
                Err(_) => damaged.push(inserted),
            }
        }
    }

    fn replace(&self, held: Option<Held>) -> Option<Arc<Held>> {
        let mut place = self.held.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, held.map(Arc::new))
    }
}

/// The medium, once nobody reads from it any more. Who still does fails soon, or is done.
fn alone(mut held: Arc<Held>) -> Medium {
    loop {
        match Arc::try_unwrap(held) {
            Ok(held) => return held.medium,
            Err(still) => held = still,
        }
        std::thread::sleep(MOMENT);
    }
}

impl Held {
    fn new(mut medium: Medium, length: u64, generation: u64, copy: u64) -> Result<Self> {
        let parts = placed(&medium.volume, length)?;
        // Who reads has the map already; two of them at once would be much.
        medium.map.chunks = Vec::new();
        Ok(Self {
            medium,
            parts,
            generation,
            copy,
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

    fn copy(&self) -> u64 {
        self.held().map_or(0, |held| held.copy)
    }

    fn elsewhere(&self, copy: u64) -> bool {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = self.held() else {
            return false;
        };
        if held.copy != copy {
            return true;
        }
        if copy >= COPIES {
            return false;
        }
        let name = held.medium.name();
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        let before = damaged.len();
        damaged.push(held.medium.device.inserted());
        drop(held);
        let Some(other) = self.other(&mut damaged, *turn + 1, copy + 1) else {
            damaged.truncate(before);
            return false;
        };
        *turn += 1;
        self.media.say(&format!(
            "warning: the medium in {name} is damaged; the one in {} is the same, and the copying goes on from it",
            other.medium.name()
        ));
        if let Some(left) = self.replace(Some(other))
            && let Err(stop) = alone(left).release()
        {
            self.media.say(&format!("warning: {stop}"));
        }
        true
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
