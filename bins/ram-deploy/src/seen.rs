//! What was met while the medium was looked for, and the sentence that tells when it was not found.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config;
use crate::devices::Device;
use crate::medium::Wanted;
use crate::signature;
use crate::stop::Stop;

/// After this time a medium of another build ends the waiting, where rd.ramforge.wait says nothing.
const GRACE: Duration = Duration::from_secs(15);
/// How long a medium may take to appear where rd.ramforge.wait says nothing.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
/// How soon a medium is looked at again that failed or had another map: it may have been changed.
const RETRY: Duration = Duration::from_secs(2);

/// What a device turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Another volume or none.
    Other,
    /// A file system without the ISO file.
    Host,
    /// Nothing can be read from it.
    Unreadable,
    /// The right volume id with another map.
    OtherMap,
    /// The right map, and no signature of the key in the initramfs.
    Unsigned,
    /// The right volume id, and then an error.
    Failed(String),
}

/// What was met while looking, by the device's name, and when.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<String, (Finding, Instant)>);

impl Seen {
    /// Keeps what a device was found to be.
    pub(crate) fn note(&mut self, device: &Device, finding: Finding) {
        self.0
            .insert(device.name.clone(), (finding, Instant::now()));
    }

    /// Whether the device is to be looked at (again).
    pub(crate) fn is_due(&self, device: &Device, now: Instant) -> bool {
        match self.0.get(&device.name) {
            Some((
                Finding::OtherMap
                | Finding::Unsigned
                | Finding::Unreadable
                | Finding::Failed(_)
                | Finding::Host,
                when,
            )) => now.saturating_duration_since(*when) >= RETRY,
            _ => true,
        }
    }

    /// Forgets devices that are gone, but not why one failed: it may have gone because of that.
    pub(crate) fn keep(&mut self, present: &[Device]) {
        self.0.retain(|name, (finding, _)| {
            matches!(finding, Finding::Failed(_)) || present.iter().any(|d| d.name == *name)
        });
    }

    /// Whether the waiting is to end.
    pub(crate) fn enough(&self, waited: Duration, limit: Option<Duration>) -> bool {
        let wrong = |f: &Finding| matches!(f, Finding::OtherMap | Finding::Unsigned);
        let other_map = || self.0.values().any(|(f, _)| wrong(f));
        waited >= limit.unwrap_or(WAIT) || (limit.is_none() && waited >= GRACE && other_map())
    }

    fn names(&self, which: impl Fn(&Finding) -> bool) -> String {
        let names = self.0.iter().filter(|(_, (finding, _))| which(finding));
        names
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Why nothing was found, and what to do.
    pub(crate) fn sentence(&self, wanted: &Wanted<'_>, waited: Duration) -> Stop {
        let (id, waited) = (&wanted.config().volume_id, waited.as_secs());
        let more = "give more time with rd.ramforge.wait=SECONDS on the kernel command line";
        let failed: Vec<&str> = self
            .0
            .values()
            .filter_map(|(finding, _)| match finding {
                Finding::Failed(why) => Some(why.as_str()),
                _ => None,
            })
            .collect();
        let other_map = self.names(|f| *f == Finding::OtherMap);
        let unsigned = self.names(|f| *f == Finding::Unsigned);
        if !failed.is_empty() {
            return Stop::new(
                format!(
                    "no medium with volume id {id} can be used, tried for {waited} s: {}",
                    failed.join("; ")
                ),
                format!(
                    "write the ISO to the medium again and compare its checksum, try another port, or {more}"
                ),
            );
        }
        if !unsigned.is_empty() {
            return Stop::new(
                format!(
                    "the medium {id} in {unsigned} is not signed with the key that this initramfs demands (/{})",
                    signature::SIGNATURE_ON_MEDIUM
                ),
                "take a medium that iso-pack --sign made with that key",
            );
        }
        if !other_map.is_empty() {
            return Stop::new(
                format!(
                    "the medium {id} in {other_map} is damaged or of another build: its /{} is not the one this initramfs was made for",
                    config::MAP_ON_MEDIUM
                ),
                format!(
                    "write the ISO to the medium again and compare its checksum, plug in the medium that was booted, or {more}"
                ),
            );
        }
        let unreadable = self.names(|f| *f == Finding::Unreadable);
        let looked = match (self.0.is_empty(), unreadable.is_empty()) {
            (true, _) => "no block device is there".to_owned(),
            (_, true) => format!("looked at {}", self.names(|_| true)),
            (_, false) => format!(
                "looked at {}, could not read {unreadable}",
                self.names(|_| true)
            ),
        };
        Stop::new(
            format!("{} did not appear in {waited} s ({looked})", wanted.name()),
            format!("plug it in and restart, or {more}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medium::tests::wanted;
    use crate::volume::tests::config;

    #[test]
    fn a_medium_that_failed_is_tried_again() {
        let (a, b) = (Device::named("sr0"), Device::named("sda"));
        let mut seen = Seen::default();
        seen.note(&a, Finding::OtherMap);
        seen.note(&b, Finding::Unreadable);
        let now = Instant::now();
        assert!(seen.is_due(&a, now + RETRY) && seen.is_due(&b, now + RETRY));
        let just_now = seen.0["sr0"].1;
        assert!(!seen.is_due(&a, just_now) && !seen.is_due(&b, just_now));
        seen.keep(&[b]);
        assert!(seen.is_due(&a, just_now) && seen.0.len() == 1);
    }

    #[test]
    fn a_limit_that_was_asked_for_is_kept() {
        let mut seen = Seen::default();
        assert!(!seen.enough(GRACE, None) && seen.enough(WAIT, None));
        seen.note(&Device::named("sr0"), Finding::OtherMap);
        assert!(seen.enough(GRACE, None));
        let asked = Some(Duration::from_secs(600));
        assert!(!seen.enough(WAIT, asked) && seen.enough(Duration::from_secs(600), asked));
        let text = seen.sentence(&wanted(&config(b"")), GRACE).to_string();
        assert!(
            text.contains("INSTALL in sr0") && text.contains("rd.ramforge.wait="),
            "{text}"
        );
    }

    #[test]
    fn an_unsigned_medium_is_told_as_such() {
        let mut seen = Seen::default();
        seen.note(&Device::named("sda"), Finding::OtherMap);
        seen.note(&Device::named("sr0"), Finding::Unsigned);
        assert!(seen.enough(GRACE, None));
        let text = seen.sentence(&wanted(&config(b"")), GRACE).to_string();
        assert!(text.contains("in sr0 is not signed"), "{text}");
    }

    #[test]
    fn what_failed_is_told_at_the_end() {
        let mut seen = Seen::default();
        seen.note(&Device::named("sda"), Finding::OtherMap);
        seen.note(&Device::named("sr0"), Finding::Failed("sr0: broken".into()));
        seen.keep(&[]);
        let text = seen.sentence(&wanted(&config(b"")), WAIT).to_string();
        assert!(text.contains("tried for 60 s: sr0: broken"), "{text}");
    }
}
