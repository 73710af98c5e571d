//! Everything that a verb may touch.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use ::journal::Event;
use manifest::{Manifest, Object, Origin, StageKey, to_canonical};
use serde::Serialize;
use serde_json::Value;
use store::Store;

use crate::error::{Error, Result};
use crate::journal::{Log, cut};
use crate::tool::{Command, Located};

/// The store, the journal, the outside programs and the person in front of the terminal.
#[derive(Debug)]
pub struct Context {
    pub(crate) name: &'static str,
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) tools: Vec<Located>,
    pub(crate) manifest: Manifest,
    pub(crate) terminal: bool,
}

impl Context {
    pub(crate) fn new(
        name: &'static str,
        store: Store,
        log: Log,
        manifest: Manifest,
        tools: Vec<Located>,
    ) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            name,
            store,
            log,
            tools,
            manifest,
            terminal,
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The name of the run that this stage belongs to.
    pub fn run(&self) -> &str {
        self.log.run()
    }

    /// Name and version for a section's `by`.
    pub fn stage(&self) -> &'static str {
        self.name
    }

    /// Adds a fact to the journal.
    ///
    /// # Errors
    /// Exit code 1 where the journal cannot be written.
    pub fn journal(&self, event: Event) -> Result<()> {
        self.log.append(event)
    }

    /// Tells the user and the journal.
    ///
    /// # Errors
    /// Exit code 1 where the journal cannot be written.
    pub fn warn(&self, text: &str) -> Result<()> {
        self.say(&format!("warning: {text}"));
        self.log.append(Event::Warning {
            stage: self.name.to_owned(),
            text: cut(text),
        })
    }

    /// Says what is being done now: one line that is overwritten on a terminal, plain lines elsewhere.
    pub fn progress(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        // A closed stderr is no reason to stop the work.
        let _ = if self.terminal {
            write!(err, "\r\x1b[K{}: {text}", self.name)
        } else {
            writeln!(err, "{}: {text}", self.name)
        };
    }

    /// Writes one line to stderr that stays.
    pub fn say(&self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        let _ = writeln!(std::io::stderr().lock(), "{clear}{}: {text}", self.name);
    }

    /// Does a part of the stage: shows its name, journals its time, looks for signals before it begins.
    ///
    /// # Errors
    /// Those of `work`, or exit code 130.
    pub fn part<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        crate::interrupted()?;
        self.progress(name);
        let begin = Instant::now();
        let done = work()?;
        self.part_finished(name, begin.elapsed())?;
        Ok(done)
    }

    /// Journals the time that a part of the stage took.
    ///
    /// # Errors
    /// Exit code 1 where the journal cannot be written.
    pub fn part_finished(&self, name: &str, time: Duration) -> Result<()> {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (stage, part) = (self.name.to_owned(), name.to_owned());
        self.log.append(Event::PartFinished {
            stage,
            part,
            milliseconds,
        })
    }

    /// The outcome of a part of the stage, from the store where it was done before.
    ///
    /// `facts` is everything the outcome depends on; the journal names it, for `ramforge why`. The outcome
    /// is recorded as soon as it is there, so an interrupted stage goes on from its last finished part.
    ///
    /// # Errors
    /// Those of `work`, of the store, or exit code 130.
    pub fn cached<F: Serialize, T: Serialize + serde::de::DeserializeOwned>(
        &self,
        part: &str,
        facts: &F,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.kept(part, facts, || self.part(part, work))
    }

    /// As [`cached`](Self::cached), for a part that several stages have: what one has done, no other does again.
    /// `owner` stands in the key where the stage's name does else.
    ///
    /// # Errors
    /// As [`cached`](Self::cached).
    pub fn shared<F: Serialize, T: Serialize + serde::de::DeserializeOwned>(
        &self,
        owner: &str,
        part: &str,
        facts: &F,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.kept_of(owner, part, facts, || self.part(part, work))
    }

    /// As [`cached`](Self::cached), for a part that consists of parts and shows those.
    ///
    /// # Errors
    /// As [`cached`](Self::cached).
    pub fn kept<F: Serialize, T: Serialize + serde::de::DeserializeOwned>(
        &self,
        part: &str,
        facts: &F,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.kept_of(self.name, part, facts, work)
    }

    fn kept_of<F: Serialize, T: Serialize + serde::de::DeserializeOwned>(
        &self,
        owner: &str,
        part: &str,
        facts: &F,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let key = manifest::part_key(owner, part, facts)?;
        if let Some(outcome) = self.found_of(&key, part, facts)? {
            return Ok(outcome);
        }
        self.log.append(Event::PartStarted {
            stage: self.name.to_owned(),
            part: part.to_owned(),
            key: *key.digest(),
            facts: self.store.put(to_canonical(facts)?.as_bytes())?,
        })?;
        let outcome = work()?;
        let value = serde_json::to_value(&outcome).map_err(|e| Error::failed(e.to_string()))?;
        self.store.sync()?;
        self.store.record_action(&key, &value)?;
        Ok(outcome)
    }

    /// The outcome of a part that was done before, if there is one.
    ///
    /// # Errors
    /// Those of the store.
    pub fn found<F: Serialize, T: serde::de::DeserializeOwned>(
        &self,
        part: &str,
        facts: &F,
    ) -> Result<Option<T>> {
        self.found_of(&manifest::part_key(self.name, part, facts)?, part, facts)
    }

    fn found_of<F: Serialize, T: serde::de::DeserializeOwned>(
        &self,
        key: &StageKey,
        part: &str,
        facts: &F,
    ) -> Result<Option<T>> {
        if let Some(found) = self.store.action(key)?
            && objects_present(&self.store, &found)
            && let Ok(outcome) = serde_json::from_value(found)
        {
            let (stage, name) = (self.name.to_owned(), part.to_owned());
            self.log.append(Event::PartStarted {
                stage: stage.clone(),
                part: name.clone(),
                key: *key.digest(),
                facts: self.store.put(to_canonical(facts)?.as_bytes())?,
            })?;
            self.log.append(Event::CacheHit {
                stage,
                key: *key.digest(),
                part: Some(name),
            })?;
            return Ok(Some(outcome));
        }
        Ok(None)
    }

    /// One of the outside programs that the stage declared, ready to be given arguments.
    ///
    /// # Errors
    /// Exit code 5 where the stage did not declare it.
    pub fn tool(&self, name: &str) -> Result<Command<'_>> {
        let tool = self.tools.iter().find(|t| t.tool.name == name);
        tool.map(|located| Command::new(self, located))
            .ok_or_else(|| Error::missing(format!("{name} is not among the stage's programs")))
    }

    /// An earlier stage's section, to tell people of it; what shapes a result is taken from the stage's input.
    ///
    /// # Errors
    /// [`manifest::Error`] where it is missing or damaged.
    pub fn section<S: manifest::Section>(&self) -> Result<S> {
        Ok(self.manifest.section()?)
    }

    /// The image's name, `NAME.ARCH-VERSION`, where the manifest has one: for messages and the journal only, no part of any
    /// key.
    pub fn image(&self) -> Option<String> {
        self.manifest.image_name()
    }

    /// The medium that the manifest has: for the journal only, no part of any key.
    pub fn medium(&self) -> Option<Object> {
        self.manifest.medium()
    }

    /// Where a value of the plan stands in the description: for messages only, no part of any key.
    pub fn origin(&self, pointer: &str) -> Option<Origin> {
        self.manifest.plan_origin(pointer)
    }
}

/// Whether every object that `value` names directly is in the store.
pub(crate) fn objects_present(store: &Store, value: &Value) -> bool {
    match value {
        Value::Object(fields) => match serde_json::from_value::<Object>(value.clone()) {
            Ok(object) => store.expects(&object),
            Err(_) => fields.values().all(|v| objects_present(store, v)),
        },
        Value::Array(items) => items.iter().all(|v| objects_present(store, v)),
        _ => true,
    }
}
