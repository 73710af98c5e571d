//! What the journals know of stages and their parts, run by run.

use journal::{Event, Line, read, runs};
use manifest::{Digest, Object};
use stage::Result;
use store::Store;

/// One run, as far as stages began in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    /// What the pipeline was asked for; `None` where a stage ran on its own.
    pub arguments: Option<Vec<String>>,
    /// The stages in the order in which they began or failed.
    pub stages: Vec<StageRun>,
    /// The run's exit code, once it ended.
    pub code: Option<u8>,
}

/// What is known of a stage in a run.
#[derive(Debug, Clone, Default)]
pub(super) struct StageRun {
    pub stage: String,
    /// What its key was made of; `None` where it failed before that.
    pub facts: Option<Object>,
    /// Whether its result was in the store.
    pub found: bool,
    pub finished: bool,
    /// Why it ended without a result.
    pub failure: Option<String>,
    pub parts: Vec<PartRun>,
}

/// What is known of a part of a stage in a run.
#[derive(Debug, Clone)]
pub(super) struct PartRun {
    pub part: String,
    pub key: Digest,
    pub facts: Object,
    /// Whether its outcome was in the store.
    pub found: bool,
}

impl Run {
    /// What is known of a stage: of its last start, where there were several.
    pub(super) fn stage(&self, name: &str) -> Option<&StageRun> {
        self.stages.iter().rev().find(|s| s.stage == name)
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::RunStarted { arguments } => self.arguments = Some(arguments),
            Event::RunFinished { code } => self.code = Some(code),
            Event::StageStarted { stage, facts, .. } => self.stages.push(StageRun {
                stage,
                facts: Some(facts),
                ..StageRun::default()
            }),
            Event::StageFinished { stage, .. } => self.with(&stage, |s| s.finished = true),
            Event::StageFailed { stage, message, .. } => {
                self.with(&stage, |s| s.failure = Some(message));
            }
            Event::Interrupted { stage } => {
                self.with(&stage, |s| {
                    s.failure = Some("it was interrupted".to_owned())
                });
            }
            Event::CacheHit {
                stage, part: None, ..
            } => self.with(&stage, |s| s.found = true),
            Event::CacheHit {
                stage,
                key,
                part: Some(_),
            } => self.with(&stage, |s| {
                let part = s.parts.iter_mut().rev().find(|p| p.key == key);
                part.into_iter().for_each(|p| p.found = true);
            }),
            Event::PartStarted {
                stage,
                part,
                key,
                facts,
            } => {
                let found = false;
                let part = PartRun {
                    part,
                    key,
                    facts,
                    found,
                };
                self.with(&stage, |s| s.parts.push(part));
            }
            _ => {}
        }
    }

    /// Changes what is known of the stage's last start; of one that failed before it began, this is the first.
    fn with(&mut self, stage: &str, change: impl FnOnce(&mut StageRun)) {
        if self.stage(stage).is_none() {
            self.stages.push(StageRun {
                stage: stage.to_owned(),
                ..StageRun::default()
            });
        }
        if let Some(found) = self.stages.iter_mut().rev().find(|s| s.stage == stage) {
            change(found);
        }
    }
}

/// All runs, oldest first.
pub(super) fn history(store: &Store) -> Result<Vec<Run>> {
    let mut history = Vec::new();
    for path in runs(&store.journal_dir())? {
        history.push(fold(read(&path)?));
    }
    Ok(history)
}

fn fold(lines: Vec<Line>) -> Run {
    let mut run = Run::default();
    for line in lines {
        run.add(line.event);
    }
    run
}
