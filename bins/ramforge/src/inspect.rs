//! Questions to the journal.

use journal::{Boot, Booted, StageState, fold, read, runs};
use stage::{Error, Result};
use store::Store;

use crate::measured::{History, least, machine, visible};
use crate::print;

pub(crate) fn report(store: &Store, run: Option<&str>) -> Result<()> {
    let path = match run {
        Some(run) => store.journal_dir().join(format!("{run}.jsonl")),
        None => runs(&store.journal_dir())?
            .pop()
            .ok_or_else(|| Error::failed("the journal is empty: no run yet"))?,
    };
    let state = fold(&read(&path)?);
    print(&format!(
        "run {}",
        path.file_stem().unwrap_or_default().to_string_lossy()
    ))?;
    for stage in &state.stages {
        print(&format!("  {}", stage_line(stage)))?;
    }
    for warning in &state.warnings {
        print(&format!("  warning: {warning}"))?;
    }
    for boot in &state.boots {
        print(&format!("  {}", visible(&timeline(boot))))?;
    }
    for measurement in &state.measurements {
        print(&format!("  {}", visible(&least(measurement))))?;
    }
    if let Some(code) = state.code {
        print(&format!("  exit code {code}"))?;
    }
    match run {
        Some(_) => Ok(()),
        None => History::of(store)?
            .lines()
            .iter()
            .try_for_each(|line| print(line)),
    }
}

/// What a stage took, and how it ended.
fn stage_line(state: &StageState) -> String {
    let outcome = match (&state.failure, state.cached, state.milliseconds) {
        (Some(message), ..) => message.lines().next().unwrap_or_default(),
        (None, true, _) => "from the store",
        (None, false, Some(_)) => "done",
        (None, false, None) => "unfinished",
    };
    let seconds = state.milliseconds.map_or(0.0, |ms| ms as f64 / 1000.0);
    let memory = state.peak_kib.unwrap_or(0) / 1024;
    format!(
        "{:16} {seconds:8.2} s {memory:6} MiB  {outcome}",
        state.stage
    )
}

/// When a machine got where, in order of time, and how it ended.
fn timeline(boot: &Boot) -> String {
    let Booted {
        ram_mib,
        result,
        firmware,
        accelerator,
    } = &boot.proof;
    let machine = machine(firmware, accelerator.as_deref());
    let mut marks: Vec<_> = boot.milliseconds.iter().collect();
    marks.sort_by_key(|(_, at)| **at);
    let mark = |(name, at): &(&String, &u64)| format!("{name} {:.1} s", **at as f64 / 1000.0);
    let mut told: Vec<_> = marks.iter().map(mark).collect();
    if !boot.milliseconds.contains_key(result) {
        told.push(result.clone());
    }
    let kept = if boot.kept { ", kept" } else { "" };
    format!(
        "boot with {ram_mib} MiB ({machine}){kept}: {}",
        told.join(", ")
    )
}

pub(crate) fn why(store: &Store, stage: Option<&str>) -> Result<()> {
    let lines = why::why(store, stage)?;
    lines.iter().try_for_each(|line| print(line))
}
