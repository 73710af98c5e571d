//! Boots that are kept: what is known of one is not booted again.

use std::collections::BTreeMap;
use std::time::Duration;

use journal::Event;
use manifest::Proof;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage::{Context, Error, Result};

use crate::boot::{Booted, Stand};
use crate::check::machine_identity;
use crate::input::Input;
use crate::login::{self, Credentials};
use crate::options::Options;
use crate::qemu::{self, Outcome};

/// How boots are judged and kept: the stage's version when that changed last.
const VERSION: u32 = 14;
/// The name of the part that is kept.
const PART: &str = "boot";

/// The boots of a medium, from the store where they are known.
pub(crate) struct Boots<'a> {
    cx: &'a Context,
    options: &'a Options,
    input: &'a Input,
    facts: Value,
    /// How many were started.
    pub(crate) started: usize,
    /// The medium as a file, once a machine needs it.
    stand: Option<Stand<'a>>,
    /// Whether what is kept counts that took longer than may be waited for now.
    pub(crate) patient: bool,
}

/// What is kept of a boot, so that an interrupted search, or one with another prediction, does not repeat it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) proof: Proof,
    pub(crate) up: bool,
    /// What the machine says it lacks.
    pub(crate) lacking_mib: Option<u64>,
    /// How long it took.
    pub(crate) seconds: u64,
    /// When it got where, for the journal. Absent in older stores.
    #[serde(default)]
    milliseconds: BTreeMap<String, u64>,
    /// The sentence with which `ram-deploy` refused it. Absent in older stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    said: Option<String>,
    /// The seconds that count now, where it came up after them.
    #[serde(skip)]
    too_late_for: Option<u64>,
}

impl<'a> Boots<'a> {
    pub(crate) fn new(cx: &'a Context, options: &'a Options, input: &'a Input) -> Result<Self> {
        Ok(Self {
            facts: facts(cx, options, input)?,
            started: 0,
            stand: None,
            patient: false,
            cx,
            options,
            input,
        })
    }

    /// What is known of a machine with `ram_mib` MiB, from an earlier run or from its boot; what it does within `limit`
    /// seconds counts.
    pub(crate) fn boot(&mut self, ram_mib: u64, limit: u64) -> Result<Known> {
        let (cx, part) = (self.cx, self.part(ram_mib));
        if let Some(known) = cx.found::<_, Known>(PART, &part)? {
            let known = match self.patient {
                true => known,
                false => known.within(self.options.timeout),
            };
            record(cx, &known.proof, &known.milliseconds, true)?;
            return Ok(said(cx, known, ", as an earlier run found"));
        }
        let booted = self.stand()?.boot(ram_mib, Duration::from_secs(limit))?;
        self.started += 1;
        let known = Known::of(booted);
        if known.lasts() {
            cx.kept(PART, &part, || Ok(known.clone()))?;
        }
        Ok(said(cx, known.within(self.options.timeout), ""))
    }

    /// All that the boot of a machine depends on.
    fn part(&self, ram_mib: u64) -> Value {
        json!({"facts": self.facts, "ram_mib": ram_mib})
    }

    fn stand(&mut self) -> Result<&Stand<'a>> {
        if self.stand.is_none() {
            self.stand = Some(Stand::new(self.cx, self.options, self.input)?);
        }
        let none = || Error::failed("the medium is not there");
        self.stand.as_ref().ok_or_else(none)
    }
}

/// Says how a boot ended.
fn said(cx: &Context, known: Known, again: &str) -> Known {
    let (ram_mib, result, seconds) = (known.proof.ram_mib, &known.proof.result, known.seconds);
    let result = match known.too_late_for {
        Some(_) => "up too late,",
        None => result,
    };
    cx.say(&format!("{ram_mib} MiB: {result} after {seconds} s{again}"));
    known
}

/// All that a boot depends on beside the machine's RAM.
fn facts(cx: &Context, options: &Options, input: &Input) -> Result<Value> {
    let mut facts = json!({
        "version": VERSION,
        "medium": input.media.iso,
        "qemu": cx.tool(qemu::QEMU)?.digest(),
        "identity": machine_identity(options)?,
        "up": options.up.to_string(),
        "login": options.login.as_ref().map(Credentials::user),
    });
    if let Some(store) = &options.store {
        facts["store"] = store.as_str().into();
    }
    if options.login.is_some() {
        facts["figures"] = login::VERSION.into();
    }
    Ok(facts)
}

impl Known {
    pub(crate) fn of(booted: Booted) -> Self {
        let said = match booted.outcome {
            Outcome::Refused(ref sentence) => Some(sentence.clone()),
            _ => None,
        };
        Self {
            up: booted.outcome.is_up(),
            lacking_mib: said.as_deref().and_then(ram_deploy::ram::lacking_mib),
            seconds: booted.time.as_secs(),
            milliseconds: booted.milliseconds,
            proof: booted.proof,
            said,
            too_late_for: None,
        }
    }

    /// The same to whom waits for so many seconds: an earlier run may have waited longer.
    fn within(mut self, seconds: u64) -> Self {
        if self.up && self.seconds > seconds {
            (self.up, self.too_late_for) = (false, Some(seconds));
            Outcome::Timeout.name().clone_into(&mut self.proof.result);
        }
        self
    }

    /// Whether the same machine ends the same way on any host: it is up, or says what it lacks. Whatever else it does may be
    /// the fault of a busy host, down to an emergency shell after a device that came too late: that is not kept.
    fn lasts(&self) -> bool {
        self.up || self.lacking_mib.is_some()
    }

    /// How it ended, in words; `sign` is what means up.
    pub(crate) fn words(&self, sign: &str) -> String {
        let Proof {
            ram_mib, firmware, ..
        } = &self.proof;
        let place = format!("with {ram_mib} MiB and {firmware} in QEMU");
        match self.proof.result.as_str() {
            "login" | "up" => {
                let inside = self.proof.memory.as_ref();
                let inside = inside.map(|m| format!(", {} MiB available inside", m.available_mib));
                format!("reached {sign} {place}{}", inside.unwrap_or_default())
            }
            "refused" => {
                let lacks = || format!("it lacks {} MiB", self.lacking_mib.unwrap_or_default());
                let said = self.said.clone().unwrap_or_else(lacks);
                format!("stopped {place}: {said}")
            }
            "panic" => format!("ended in a kernel panic {place}"),
            "emergency" => format!("ended in emergency mode {place}"),
            "exit" => format!("switched itself off {place}"),
            _ => match self.too_late_for {
                Some(limit) => format!(
                    "reached {sign} {place} after {} s, later than the {limit} s of --timeout",
                    self.seconds
                ),
                None => format!("did not reach {sign} within {} s {place}", self.seconds),
            },
        }
    }
}

/// Times belong to the journal, not to the manifest. A boot that is `kept` happened in an earlier run.
pub(crate) fn record(
    cx: &Context,
    proof: &Proof,
    milliseconds: &BTreeMap<String, u64>,
    kept: bool,
) -> Result<()> {
    let mut data = json!({"proof": proof, "milliseconds": milliseconds});
    if kept {
        data["kept"] = true.into();
    }
    cx.journal(Event::Custom {
        stage: cx.stage().to_owned(),
        name: "boot".to_owned(),
        data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::Object;

    /// What is known of a boot that ended that way after so many seconds.
    fn known(outcome: Outcome, seconds: u64) -> Known {
        let proof = Proof {
            ram_mib: 512,
            firmware: "bios".to_owned(),
            accelerator: "tcg".to_owned(),
            up: "login".to_owned(),
            result: outcome.name().to_owned(),
            memory: None,
            screen: None,
            log: Object::of(b""),
        };
        Known::of(Booted {
            proof,
            outcome,
            time: Duration::from_secs(seconds),
            milliseconds: BTreeMap::new(),
        })
    }

    const LACKS: &str =
        "too little RAM: the image in RAM (brd) needs 700 MiB available, this machine has 500 MiB";

    #[test]
    fn what_a_busy_host_may_have_done_is_not_kept() {
        for lasting in [
            Outcome::Login,
            Outcome::Up,
            Outcome::Refused(LACKS.to_owned()),
        ] {
            assert!(known(lasting.clone(), 9).lasts(), "{lasting:?}");
        }
        let no_medium = "no medium was found within 60 s".to_owned();
        for passing in [
            Outcome::Timeout,
            Outcome::Emergency,
            Outcome::Panic,
            Outcome::Exit,
            Outcome::Refused(no_medium),
        ] {
            assert!(!known(passing.clone(), 9).lasts(), "{passing:?}");
        }
    }

    #[test]
    fn a_boot_that_took_longer_than_the_limit_is_none() {
        let within = |seconds| known(Outcome::Login, 500).within(seconds);
        assert!(within(500).up && within(900).proof.result == "login");
        assert!(!within(100).up && within(100).proof.result == "timeout");
        let words = within(100).words("the login prompt");
        assert!(
            words.ends_with(" after 500 s, later than the 100 s of --timeout"),
            "{words}"
        );
    }

    #[test]
    fn a_refusal_is_told_in_its_own_words() {
        let refused = known(Outcome::Refused(LACKS.to_owned()), 9);
        assert_eq!(refused.lacking_mib, Some(200));
        let expected = format!("stopped with 512 MiB and bios in QEMU: {LACKS}");
        assert_eq!(refused.words("the login prompt"), expected);
        // What an older store has kept lacks the sentence.
        let mut kept = serde_json::to_value(refused).unwrap();
        kept.as_object_mut().unwrap().remove("said");
        kept.as_object_mut().unwrap().remove("milliseconds");
        let kept: Known = serde_json::from_value(kept).unwrap();
        assert!(kept.words("x").ends_with("in QEMU: it lacks 200 MiB"));
    }
}
