//! The state of a run as a fold over its events.

use std::collections::BTreeMap;

use manifest::Digest;
use serde::Deserialize;

use crate::event::{Event, Line};

/// What is known of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunState {
    /// The stages in the order they began.
    pub stages: Vec<StageState>,
    /// Exit code of the run, once it ended.
    pub code: Option<u8>,
    /// All warnings, as `stage: text`.
    pub warnings: Vec<String>,
    /// The machines that were started.
    pub boots: Vec<Boot>,
    /// What machines showed of the RAM that is stated.
    pub measurements: Vec<Measurement>,
}

/// A machine that was started, and when it got where: the event `boot` of ram-check.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Boot {
    /// The machine, and how it ended.
    pub proof: Booted,
    /// Milliseconds since it was switched on, by the names of what was first heard of then.
    pub milliseconds: BTreeMap<String, u64>,
    /// Whether an earlier run started it, and the store has kept what it showed.
    #[serde(default)]
    pub kept: bool,
}

/// Of the proof of a boot what a report shows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Booted {
    /// RAM in MiB.
    pub ram_mib: u64,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// What ran its code, `tcg` or `kvm`; absent in older journals.
    #[serde(default)]
    pub accelerator: Option<String>,
    /// How it ended: `login`, `refused` and so on.
    pub result: String,
}

/// The least RAM of a machine, stated and measured: the event `least` of ram-check. In MiB where nothing else is said.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Measurement {
    /// The RAM store.
    pub store: String,
    /// The firmware of the machines.
    pub firmware: String,
    /// What ran their code, `tcg` or `kvm`; absent in older journals.
    #[serde(default)]
    pub accelerator: Option<String>,
    /// What is stated.
    pub predicted_mib: u64,
    /// The machine that is recommended; absent in older journals.
    #[serde(default)]
    pub recommended_mib: Option<u64>,
    /// The least machine that came up, if one did.
    pub measured_mib: Option<u64>,
    /// The largest machine that did not; 0 where all did.
    pub too_little_mib: u64,
    /// How many machines were started.
    pub boots: u64,
    /// The image, `NAME.ARCH-VERSION`; absent in older journals.
    #[serde(default)]
    pub image: Option<String>,
    /// What meant that the system was up; absent in older journals.
    #[serde(default)]
    pub up: Option<String>,
    /// The digest of the medium; absent in older journals.
    #[serde(default)]
    pub medium: Option<String>,
    /// The working set that was measured and counts in what is stated, in KiB; absent where a small system is assumed.
    #[serde(default)]
    pub working_set_kib: Option<u64>,
    /// Whether an earlier run measured it.
    #[serde(default)]
    pub kept: bool,
    /// When the journal heard of it: RFC 3339, UTC.
    #[serde(skip)]
    pub at: String,
}

/// What is known of one stage of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StageState {
    /// The stage.
    pub stage: String,
    /// Its key.
    pub key: Digest,
    /// Whether its work was found done.
    pub cached: bool,
    /// Wall time in milliseconds, once it is done.
    pub milliseconds: Option<u64>,
    /// Peak memory in KiB, once it is done.
    pub peak_kib: Option<u64>,
    /// The message, where it failed.
    pub failure: Option<String>,
}

impl StageState {
    /// A stage of which no more is known than that it began.
    fn begun(stage: &str, key: Digest) -> Self {
        Self {
            stage: stage.to_owned(),
            key,
            cached: false,
            milliseconds: None,
            peak_kib: None,
            failure: None,
        }
    }
}

/// Folds the lines of one journal.
pub fn fold(lines: &[Line]) -> RunState {
    lines.iter().fold(RunState::default(), |mut state, line| {
        state.apply(line);
        state
    })
}

impl RunState {
    fn apply(&mut self, line: &Line) {
        match &line.event {
            Event::StageStarted { stage, key, .. } => {
                self.stages.push(StageState::begun(stage, *key));
            }
            Event::CacheHit {
                stage, part: None, ..
            } => {
                self.with(stage, |s| s.cached = true);
            }
            Event::StageFinished {
                stage,
                milliseconds,
                peak_kib,
                ..
            } => self.with(stage, |s| {
                s.milliseconds = Some(*milliseconds);
                s.peak_kib = Some(*peak_kib);
            }),
            Event::StageFailed { stage, message, .. } => self.fail(stage, message),
            Event::Interrupted { stage } => self.fail(stage, "interrupted"),
            Event::Warning { stage, text } => self.warnings.push(format!("{stage}: {text}")),
            // Of another shape it is an event of somebody else.
            Event::Custom { name, data, .. } if name == "boot" => {
                self.boots
                    .extend(serde_json::from_value::<Boot>(data.clone()));
            }
            Event::Custom { name, data, .. } if name == "least" => {
                let measurement = serde_json::from_value::<Measurement>(data.clone());
                let at = line.at.clone();
                self.measurements
                    .extend(measurement.map(|m| Measurement { at, ..m }));
            }
            Event::RunFinished { code } => self.code = Some(*code),
            _ => {}
        }
    }

    /// A stage may fail before it has a key: then this is the first that is heard of it.
    fn fail(&mut self, stage: &str, message: &str) {
        if !self.stages.iter().any(|s| s.stage == stage) {
            self.stages.push(StageState::begun(stage, Digest::of(b"")));
        }
        self.with(stage, |s| s.failure = Some(message.to_owned()));
    }

    fn with(&mut self, stage: &str, change: impl FnOnce(&mut StageState)) {
        if let Some(state) = self.stages.iter_mut().rev().find(|s| s.stage == stage) {
            change(state);
        }
    }
}
