//! `--least`: the least machine that comes up, measured in QEMU.

use std::time::Duration;

use journal::Event;
use manifest::{Measured, StoreNeed};
use serde_json::json;
use stage::{Context, Result};

use crate::boot::Stand;
use crate::check::Input;
use crate::judge::Judgement;
use crate::options::Options;
use crate::search;

/// A machine that takes so many times as long as one that came up, and a minute, does not come up any more: with little
/// RAM, or a busy host, a boot may take three times as long.
const PATIENCE: u32 = 5;
const GRACE: Duration = Duration::from_secs(60);

/// Boots machines around the prediction until the least one is known.
pub(crate) fn measure(
    cx: &Context,
    options: &Options,
    input: &Input,
    need: &StoreNeed,
) -> Result<Measured> {
    let stand = Stand::new(cx, options, input)?;
    let mut boots = Vec::new();
    let mut limit = Duration::from_secs(options.timeout);
    let found = search::least(need.least_ram_mib, |ram_mib| {
        let booted = stand.boot(ram_mib, limit)?;
        let up = booted.outcome.is_up();
        let (name, seconds) = (booted.outcome.name(), booted.time.as_secs());
        cx.say(&format!("{ram_mib} MiB: {name} after {seconds} s"));
        if up {
            limit = limit.min(booted.time * PATIENCE + GRACE);
        }
        boots.push(booted.proof);
        Ok::<_, stage::Error>(up)
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
    // What is measured is known to a step only.
    let ok = least <= predicted.next_multiple_of(measured.step_mib);
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
            "measured_mib": measured.least_ram_mib,
            "too_little_mib": measured.too_little_mib,
            "boots": measured.boots.len(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::Moment;

    #[test]
    fn a_measurement_above_the_prediction_is_a_negative_verdict() {
        let need = StoreNeed {
            store: "brd".to_owned(),
            least_ram_mib: 664,
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
        assert!(judged(Some(672)).ok && judged(Some(608)).ok);
        let above = judged(Some(688));
        assert!(!above.ok && above.sentence.ends_with("do not, more than is stated"));
        assert_eq!(judged(None).sentence, "nothing up to 2000 MiB comes up");
    }
}
            "recommended_mib": need.recommended_ram_mib,
            recommended_ram_mib: 792,
