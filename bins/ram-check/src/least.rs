//! `--least`: the least machine that comes up, measured in QEMU.

use std::time::Duration;

use journal::Event;
use manifest::{Measured, Proof, StoreNeed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage::{Context, Error, Result};

use crate::boot::{Booted, Stand};
use crate::check::{Input, VERSION, identity};
use crate::judge::Judgement;
use crate::login::Credentials;
use crate::options::Options;
use crate::qemu::{self, Outcome};
use crate::search::{self, Answer};

/// A machine that takes so many times as long as one that came up, and a minute, does not come up any more: with little
/// RAM, or a busy host, a boot may take three times as long. In seconds.
const PATIENCE: u64 = 5;
const GRACE: u64 = 60;

/// What is kept of each boot, so that an interrupted search, or one with another prediction, does not repeat it.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    proof: Proof,
    up: bool,
    /// What the machine says it lacks.
    lacking_mib: Option<u64>,
    /// How long it took.
    seconds: u64,
}

/// Boots machines around the prediction until the least one is known.
pub(crate) fn measure(
    cx: &Context,
    options: &Options,
    input: &Input,
    need: &StoreNeed,
) -> Result<Measured> {
    let stand = Stand::new(cx, options, input)?;
    let facts = facts(cx, options, input)?;
    let mut boots = Vec::new();
    let mut limit = options.timeout;
    let found = search::least(need.least_ram_mib, |ram_mib| {
        let facts = json!({"facts": facts, "ram_mib": ram_mib});
        let known = boot(cx, options.timeout, &facts, || {
            stand.boot(ram_mib, Duration::from_secs(limit))
        })?;
        let seconds = known.seconds;
        let answer = match known.up {
            true => Answer::Up,
            false => Answer::Not(known.lacking_mib),
        };
        if known.up {
            limit = limit.min(seconds * PATIENCE + GRACE);
        }
        boots.push(known.proof);
        Ok::<_, Error>(answer)
    })?;
    let measured = Measured {
        store: need.store.clone(),
        least_ram_mib: found.least,
        too_little_mib: found.too_little,
        step_mib: search::STEP_MIB,
        boots,
    };
    record(cx, options, need, &measured)?;
    Ok(measured)
}

/// What is known of a machine, from an earlier search or from its boot, to whom waits for `seconds`.
fn boot(
    cx: &Context,
    seconds: u64,
    facts: &Value,
    boot: impl FnOnce() -> Result<Booted>,
) -> Result<Known> {
    let (mut new, mut again) = (None, ", as an earlier search found");
    let known = cx.kept("boot", facts, || {
        again = "";
        let known = Known::of(boot()?);
        if known.lasts() {
            return Ok(known);
        }
        new = Some(known);
        Err(Error::failed("a boot that may end otherwise"))
    });
    let known = new.map_or(known, Ok)?.within(seconds);
    let Proof {
        ram_mib, result, ..
    } = &known.proof;
    cx.say(&format!(
        "{ram_mib} MiB: {result} after {} s{again}",
        known.seconds
    ));
    Ok(known)
}

impl Known {
    fn of(booted: Booted) -> Self {
        let lacking_mib = match &booted.outcome {
            Outcome::Refused(sentence) => ram_deploy::ram::lacking_mib(sentence),
            _ => None,
        };
        Self {
            up: booted.outcome.is_up(),
            lacking_mib,
            seconds: booted.time.as_secs(),
            proof: booted.proof,
        }
    }

    /// The same to whom waits for so many seconds: an earlier search may have waited longer.
    fn within(mut self, seconds: u64) -> Self {
        if self.up && self.seconds > seconds {
            self.up = false;
            Outcome::Timeout.name().clone_into(&mut self.proof.result);
        }
        self
    }

    /// Whether the same machine ends the same way on any host: it is up, or says what it lacks. Whatever else it does may be the
    /// fault of a busy host, down to an emergency shell after a device that came too late: that is not kept.
    fn lasts(&self) -> bool {
        self.up || self.lacking_mib.is_some()
    }
}

/// All that a boot depends on beside the machine's RAM; the stage's version, since it says how a boot ended.
fn facts(cx: &Context, options: &Options, input: &Input) -> Result<Value> {
    Ok(json!({
        "version": VERSION,
        "medium": input.media.iso,
        "qemu": cx.tool(qemu::QEMU)?.digest(),
        "identity": identity(options, input)?,
        "up": options.up.to_string(),
        "login": options.login.as_ref().map(Credentials::user),
    }))
}

/// What the measurement says of the prediction.
pub(crate) fn judge(need: &StoreNeed, measured: &Measured) -> Judgement {
    let (predicted, boots) = (need.least_ram_mib, measured.boots.len());
    let Some(least) = measured.least_ram_mib else {
        let sentence = format!("nothing up to {} MiB comes up", measured.too_little_mib);
        return Judgement {
            ok: false,
            sentence,
        };
    };
    let ok = least <= predicted;
    let than = if ok { "" } else { ", more than is stated" };
    let sentence = format!(
        "measured in {boots} boots: {least} MiB come up, {} MiB do not{than}",
        measured.too_little_mib
    );
    Judgement { ok, sentence }
}

/// For `ramforge report`.
fn record(cx: &Context, options: &Options, need: &StoreNeed, measured: &Measured) -> Result<()> {
    let first = measured.boots.first();
    let firmware = first.map(|proof| proof.firmware.clone());
    let accelerator = first.map(|proof| proof.accelerator.clone());
    cx.journal(Event::Custom {
        stage: cx.stage().to_owned(),
        name: "least".to_owned(),
        data: json!({
            "store": need.store,
            "firmware": firmware,
            "accelerator": accelerator,
            "up": options.up.to_string(),
            "predicted_mib": need.least_ram_mib,
            "recommended_mib": need.recommended_ram_mib,
            "measured_mib": measured.least_ram_mib,
            "too_little_mib": measured.too_little_mib,
            "boots": measured.boots.len(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::{Moment, Object};
    use std::time::Duration;

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
        })
    }

    #[test]
    fn what_a_busy_host_may_have_done_is_not_kept() {
        let lacks = "too little RAM: the image in RAM (brd) needs 700 MiB available, this machine has 500 MiB";
        for lasting in [
            Outcome::Login,
            Outcome::Up,
            Outcome::Refused(lacks.to_owned()),
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
    }

    #[test]
    fn a_measurement_above_the_prediction_is_a_negative_verdict() {
        let need = StoreNeed {
            store: "brd".to_owned(),
            least_ram_mib: 664,
            recommended_ram_mib: 800,
            steady_mib: 0,
            left_mib: None,
            peak_mib: 0,
            peak_at: Moment::Deploy,
            terms: Vec::new(),
        };
        let judged = |least_ram_mib: Option<u64>| {
            let measured = Measured {
                store: "brd".to_owned(),
                least_ram_mib,
                too_little_mib: least_ram_mib.map_or(2000, |mib| mib - 16),
                step_mib: 16,
                boots: Vec::new(),
            };
            judge(&need, &measured)
        };
        assert!(judged(Some(664)).ok && judged(Some(608)).ok);
        // What does not hold by half a step does not hold.
        for mib in [672, 688] {
            let above = judged(Some(mib));
            assert!(!above.ok && above.sentence.ends_with("do not, more than is stated"));
        }
        assert_eq!(judged(None).sentence, "nothing up to 2000 MiB comes up");
    }
}
