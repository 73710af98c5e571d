//! `--least`: the least machine that comes up, measured in QEMU.

use journal::Event;
use manifest::{Measured, StoreNeed, Verdict};
use serde_json::json;
use stage::{Context, Error, Result};

use crate::input::Input;
use crate::judge::Judgement;
use crate::known::Boots;
use crate::options::Options;
use crate::qemu::Outcome;
use crate::search::{self, Answer};

/// A machine that takes so many times as long as one that came up, and a minute, does not come up any more: with little
/// RAM, or a busy host, a boot may take three times as long. In seconds.
const PATIENCE: u64 = 5;
const GRACE: u64 = 60;

/// Boots machines around the prediction until the least one is known; says whether any was started.
pub(crate) fn measure(
    cx: &Context,
    options: &Options,
    input: &Input,
    need: &StoreNeed,
) -> Result<(Measured, bool)> {
    let mut machines = Boots::new(cx, options, input)?;
    // RAM is what is asked about, not how busy the host was.
    machines.patient = true;
    let mut boots = Vec::new();
    let mut limit = options.timeout;
    let found = search::least(need.least_ram_mib, |ram_mib| {
        let known = machines.boot(ram_mib, limit)?;
        let answer = match known.up {
            true => Answer::Up,
            false => Answer::Not(known.lacking_mib),
        };
        if known.up {
            limit = limit.min(known.seconds * PATIENCE + GRACE);
        }
        boots.push(known.proof);
        Ok::<_, Error>(answer)
    })?;
    let late = Outcome::Timeout.name();
    let largest = boots.iter().max_by_key(|proof| proof.ram_mib);
    if found.least.is_none() && largest.is_some_and(|proof| proof.result == late) {
        let (boots, seconds) = (boots.len(), options.timeout);
        let fact = format!(
            "in {boots} boots no machine came up within {seconds} s, so nothing is measured"
        );
        return Err(Error::failed(fact).advice("give them more time: --timeout SECONDS"));
    }
    let measured = Measured {
        store: need.store.clone(),
        least_ram_mib: found.least,
        too_little_mib: found.too_little,
        step_mib: search::STEP_MIB,
        boots,
    };
    Ok((measured, machines.started > 0))
}

/// What the measurement says of the prediction.
pub(crate) fn judge(predicted: u64, measured: &Measured) -> Judgement {
    let boots = measured.boots.len();
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

/// For `ramforge report`: a measurement beside the statement of the verdict. One that is `kept` was made in an earlier run.
pub(crate) fn record(cx: &Context, verdict: &Verdict, kept: bool) -> Result<()> {
    let Some(measured) = &verdict.measured else {
        return Ok(());
    };
    let mut stores = verdict.stores.iter();
    let need = stores.find(|need| need.store == measured.store);
    let predicted = need.map_or(verdict.least_ram_mib, |need| need.least_ram_mib);
    let first = measured.boots.first();
    let mut data = json!({
        "image": cx.image(),
        "medium": cx.medium().map(|medium| medium.blake3.to_string()),
        "store": measured.store,
        "firmware": first.map(|proof| &proof.firmware),
        "accelerator": first.map(|proof| &proof.accelerator),
        "up": first.map(|proof| &proof.up),
        "predicted_mib": predicted,
        "recommended_mib": need.map(|need| need.recommended_ram_mib),
        "measured_mib": measured.least_ram_mib,
        "too_little_mib": measured.too_little_mib,
        "boots": measured.boots.len(),
    });
    if let Some(set) = &verdict.working_set {
        data["working_set_kib"] = set.kib.into();
    }
    if kept {
        data["kept"] = true.into();
    }
    cx.journal(Event::Custom {
        stage: cx.stage().to_owned(),
        name: "least".to_owned(),
        data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_above_the_prediction_is_a_negative_verdict() {
        let judged = |least_ram_mib: Option<u64>| {
            let measured = Measured {
                store: "brd".to_owned(),
                least_ram_mib,
                too_little_mib: least_ram_mib.map_or(2000, |mib| mib - 16),
                step_mib: 16,
                boots: Vec::new(),
            };
            judge(664, &measured)
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
