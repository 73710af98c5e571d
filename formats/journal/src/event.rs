//! The events. Their spelling on disk is the format; new events may be added, none may change.

use manifest::{Digest, Object};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A pipeline began.
    RunStarted {
        /// What was asked for: the pipeline's arguments.
        arguments: Vec<String>,
    },
    /// A stage has its input and its key.
    StageStarted {
        /// The stage.
        stage: String,
        /// Program version.
        version: String,
        /// The stage key.
        key: Digest,
        /// What went into the key, as an object.
        facts: Object,
    },
    /// Work that was not done again.
    CacheHit {
        /// The stage.
        stage: String,
        /// The key that was found.
        key: Digest,
        /// The part of the stage; absent: all of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part: Option<String>,
    },
    /// A part of a stage whose outcome is kept has its key. A [`CacheHit`](Self::CacheHit) with the same
    /// key follows where the outcome is in the store; otherwise the work is done.
    PartStarted {
        /// The stage.
        stage: String,
        /// The part's name.
        part: String,
        /// The part's key.
        key: Digest,
        /// What went into the key, as an object.
        facts: Object,
    },
    /// Something worth naming was put into the store.
    ObjectStored {
        /// The stage.
        stage: String,
        /// What it is.
        what: String,
        /// The object.
        object: Object,
    },
    /// An object was not what its name says, or not there at all. It is removed, and made again where it is
    /// needed.
    ObjectDamaged {
        /// The stage that met it.
        stage: String,
        /// The object; its length is 0 where nobody knows it any more.
        object: Object,
        /// What was wrong with it.
        fact: String,
    },
    /// An outside program ran.
    CommandRun {
        /// The stage.
        stage: String,
        /// Program and arguments; long ones are cut.
        command: Vec<String>,
        /// BLAKE3 of the program's file.
        program: Digest,
        /// How it ended: `exit 0`, `signal 9`.
        status: String,
        /// Wall time in milliseconds.
        milliseconds: u64,
        /// What it printed, as an object, where it printed anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log: Option<Object>,
    },
    /// Something the user should know.
    Warning {
        /// The stage.
        stage: String,
        /// One sentence.
        text: String,
    },
    /// How long a part of a stage took.
    PartFinished {
        /// The stage.
        stage: String,
        /// The part's name.
        part: String,
        /// Wall time in milliseconds.
        milliseconds: u64,
    },
    /// A stage is done.
    StageFinished {
        /// The stage.
        stage: String,
        /// The stage key.
        key: Digest,
        /// The section, as an object.
        section: Object,
        /// Wall time in milliseconds.
        milliseconds: u64,
        /// Peak memory in KiB: of the stage's process, or of the largest one that it ran.
        peak_kib: u64,
    },
    /// A stage could not do its work.
    StageFailed {
        /// The stage.
        stage: String,
        /// The exit code.
        code: u8,
        /// The message.
        message: String,
    },
    /// A signal ended the work.
    Interrupted {
        /// The stage.
        stage: String,
    },
    /// The pipeline ended.
    RunFinished {
        /// Its exit code.
        code: u8,
    },
    /// A fact from a stage of somebody else.
    Custom {
        /// The stage.
        stage: String,
        /// The event's own name.
        name: String,
        /// Whatever it says.
        data: Value,
    },
    /// An event of a newer release: read, and passed over.
    #[serde(other)]
    Unknown,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Position in the file, from 0.
    pub seq: u64,
    /// RFC 3339 time, UTC, microseconds.
    pub at: String,
    /// BLAKE3 of the line before, without its newline; of nothing for the first.
    pub prev: Digest,
    /// The fact.
    #[serde(flatten)]
    pub event: Event,
}
