//! What was found, as lines; a part of the image with thousands of differences shows the first ones.

use stage::Result;

use crate::print;

/// Differences of one part that are shown.
const SHOWN: usize = 20;

/// Collects differences and prints them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The part of the image that is compared now.
    part: String,
    in_part: usize,
    all: usize,
}

impl Report {
    /// Begins another part of the image.
    ///
    /// # Errors
    /// Exit code 1 where stdout cannot be written.
    pub(crate) fn part(&mut self, name: &str) -> Result<()> {
        self.end_part()?;
        name.clone_into(&mut self.part);
        Ok(())
    }

    /// Adds a difference of this part.
    ///
    /// # Errors
    /// Exit code 1 where stdout cannot be written.
    pub(crate) fn add(&mut self, fact: impl AsRef<str>) -> Result<()> {
        self.in_part += 1;
        if self.in_part <= SHOWN {
            print(&format!("{}: {}", self.part, fact.as_ref()))?;
        }
        Ok(())
    }

    /// Whether further differences of this part are shown, so that it pays to look at them.
    pub(crate) fn is_open(&self) -> bool {
        self.in_part < SHOWN
    }

    /// Whether this part has any.
    pub(crate) fn has_any(&self) -> bool {
        self.in_part > 0
    }

    /// The number of differences in all.
    ///
    /// # Errors
    /// Exit code 1 where stdout cannot be written.
    pub(crate) fn finish(mut self) -> Result<usize> {
        self.end_part()?;
        Ok(self.all)
    }

    fn end_part(&mut self) -> Result<()> {
        if self.in_part > SHOWN {
            print(&format!("{}: and {} more", self.part, self.in_part - SHOWN))?;
        }
        self.all += std::mem::take(&mut self.in_part);
        Ok(())
    }
}
