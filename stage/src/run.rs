//! The life of a stage, from its arguments to its exit code.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use ::journal::Event;
use clap::Args;
use manifest::{
    Manifest, Object, Plan, Section, StageKey, canonical_value, stage_key, stage_key_of,
    to_canonical,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::Store;

use crate::arguments::arguments;
use crate::context::{Context, objects_present};
use crate::error::{At, Error, Result};
use crate::exit::Exit;
use crate::interrupt;
use crate::journal::{Log, cut};
use crate::memory;
use crate::repair::{mending, tell};
use crate::tool::{Located, Tool, identities, locate};

/// The options of a stage without options.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Nothing {}

/// What a stage says of itself. `O` are its options, `I` what it reads, `S` what it adds.
#[derive(Debug)]
pub struct Stage<O, I, S> {
    name: &'static str,
    about: &'static str,
    program: &'static str,
    version: u32,
    tools: fn(&O) -> Vec<Tool>,
    narrow: fn(&O, &mut I),
    identity: fn(&Context, &O, &I) -> Result<Value>,
    judge: fn(&S) -> bool,
    found: fn(&Context, &S) -> Result<()>,
    show: fn(&Context, &O, &S) -> Result<()>,
}

impl<O, I, S> Stage<O, I, S> {
    /// A stage without outside programs. `version` is the stage version: it changes, with a changelog
    /// on its constant, whenever the same input would give other bytes.
    pub fn new(
        name: &'static str,
        program: &'static str,
        version: u32,
        about: &'static str,
    ) -> Self {
        Self {
            name,
            about,
            program,
            version,
            tools: |_| Vec::new(),
            narrow: |_, _| (),
            identity: |_, _, _| Ok(Value::Null),
            judge: |_| true,
            found: |_, _| Ok(()),
            show: |_, _, _| Ok(()),
        }
    }

    /// Names the outside programs; they must be there before work begins, and they enter the key.
    #[must_use]
    pub fn tools(mut self, tools: fn(&O) -> Vec<Tool>) -> Self {
        self.tools = tools;
        self
    }

    /// Takes out of the input what the verb does not read with these options, so that it is neither in the
    /// key nor in the verb's hands.
    #[must_use]
    pub fn narrow(mut self, narrow: fn(&O, &mut I)) -> Self {
        self.narrow = narrow;
        self
    }

    /// Names what else shapes the output: files of the host and of the world outside. Enters the key.
    #[must_use]
    pub fn identity(mut self, identity: fn(&Context, &O, &I) -> Result<Value>) -> Self {
        self.identity = identity;
        self
    }

    /// Decides whether a finished section means exit code 4.
    #[must_use]
    pub fn judge(mut self, judge: fn(&S) -> bool) -> Self {
        self.judge = judge;
        self
    }

    /// Tells the journal of what a section says that is found in the store, besides that it is.
    #[must_use]
    pub fn found(mut self, found: fn(&Context, &S) -> Result<()>) -> Self {
        self.found = found;
        self
    }

    /// Tells people of a finished section, of one from the store too, once the manifest is written. Options that only this
    /// reads belong into no key.
    #[must_use]
    pub fn show(mut self, show: fn(&Context, &O, &S) -> Result<()>) -> Self {
        self.show = show;
        self
    }
}

/// Runs a stage that reads a manifest and adds a section.
pub fn main<O, I, S>(stage: Stage<O, I, S>, verb: fn(&mut Context, &O, I) -> Result<S>) -> ExitCode
where
    O: Args + Serialize,
    I: Serialize + DeserializeOwned,
    S: Section,
{
    let (options, own) = match arguments::<O>(stage.name, stage.about, stage.program, true) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    begin();
    let done = match own.key {
        true => print_key(&stage, &options, own.manifest),
        false => run(&stage, &options, own.manifest, verb),
    };
    finish(stage.name, done)
}

/// Runs the first stage, which reads no manifest.
pub fn source<O>(stage: Stage<O, (), Plan>, verb: fn(&mut Context, &O) -> Result<Plan>) -> ExitCode
where
    O: Args + Serialize,
{
    let (options, _) = match arguments::<O>(stage.name, stage.about, stage.program, false) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    begin();
    finish(stage.name, run_source(&stage, &options, verb))
}

/// What holds for the whole process: signals are heard, and no mode of the result is the caller's umask.
fn begin() {
    interrupt::listen();
    if in_pipeline() {
        interrupt::listen_to_reader();
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
}

fn finish(name: &str, done: Result<Exit>) -> ExitCode {
    match done {
        Ok(exit) => exit.into(),
        Err(error) if is_no_reason(&error) => Exit::Interrupted.into(),
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "{name}: error: {error}");
            error.exit().into()
        }
    }
}

/// In a pipeline the stage that failed, or was interrupted, has said so. Those before and behind it, which nobody reads
/// or which get nothing, keep quiet, and are no reason for the end of the run.
fn is_no_reason(error: &Error) -> bool {
    let empty = || error.to_string() == manifest::Error::Empty.to_string();
    in_pipeline() && (interrupt::is_lonely() || empty())
}

fn in_pipeline() -> bool {
    std::env::var_os("RAMFORGE_PIPELINE").is_some()
}

fn run<O, I, S>(
    stage: &Stage<O, I, S>,
    options: &O,
    file: Option<PathBuf>,
    verb: fn(&mut Context, &O, I) -> Result<S>,
) -> Result<Exit>
where
    O: Args + Serialize,
    I: Serialize + DeserializeOwned,
    S: Section,
{
    let journal = Journaled::open(stage.name)?;
    journal.failures(|| {
        // Before the wait for stdin: in a pipeline a missing program shows at once.
        let tools = locate(&(stage.tools)(options))?;
        let text = read_manifest(file)?;
        let manifest = Manifest::parse(&text)?;
        journal.store.note(&text)?;
        let mut cx = journal.context(manifest, tools);
        let section = mending(&mut cx, |cx| fresh(cx, stage, options, verb))?;
        cx.manifest.set(&section)?;
        write_line(&cx.manifest.to_line()?)?;
        // Last: whatever comes of it, the section is there for the one who reads the manifest.
        (stage.show)(&cx, options, &section)?;
        let good = (stage.judge)(&section);
        Ok(if good { Exit::Done } else { Exit::Negative })
    })
}

/// As [`attempt`], and once more where the key was made of what is no longer so.
fn fresh<O, I, S>(
    cx: &mut Context,
    stage: &Stage<O, I, S>,
    options: &O,
    verb: fn(&mut Context, &O, I) -> Result<S>,
) -> Result<S>
where
    O: Serialize,
    I: Serialize + DeserializeOwned,
    S: Section,
{
    match attempt(cx, stage, options, verb) {
        Err(error) if error.is_stale() => {
            cx.warn(&error.to_string())?;
            attempt(cx, stage, options, verb)
        }
        done => done,
    }
}

/// Makes the key from all that the stage reads, and gives the section of that key.
fn attempt<O, I, S>(
    cx: &mut Context,
    stage: &Stage<O, I, S>,
    options: &O,
    verb: fn(&mut Context, &O, I) -> Result<S>,
) -> Result<S>
where
    O: Serialize,
    I: Serialize + DeserializeOwned,
    S: Section,
{
    let (input, facts) = facts(cx, stage, options)?;
    let key = stage_key(stage.name, &facts)?;
    in_journal(cx, stage, key, &facts, |cx| verb(cx, options, input))
}

/// What the stage reads, and everything that its result depends on.
fn facts<O, I, S>(cx: &Context, stage: &Stage<O, I, S>, options: &O) -> Result<(I, Value)>
where
    O: Serialize,
    I: Serialize + DeserializeOwned,
{
    let mut input: I = cx.manifest.project()?;
    (stage.narrow)(options, &mut input);
    let facts = json!({
        "stage": stage.name,
        "version": stage.version,
        "options": options,
        "input": &input,
        "tools": identities(&cx.tools),
        "identity": (stage.identity)(cx, options, &input)?,
    });
    Ok((input, facts))
}

/// `--key`: nothing is done, recorded or journaled, but for what must be known of the world outside.
fn print_key<O, I, S>(stage: &Stage<O, I, S>, options: &O, file: Option<PathBuf>) -> Result<Exit>
where
    O: Args + Serialize,
    I: Serialize + DeserializeOwned,
    S: Section,
{
    let tools = locate(&(stage.tools)(options))?;
    let manifest = Manifest::parse(&read_manifest(file)?)?;
    let store = Store::open_default()?;
    let cx = Context::new(stage.name, store, Log::silent(), manifest, tools);
    let (_, facts) = facts(&cx, stage, options)?;
    let key = stage_key(stage.name, &facts)?.digest().to_string();
    write_line(&to_canonical(&json!({"key": key, "facts": facts}))?)?;
    Ok(Exit::Done)
}

fn run_source<O>(
    stage: &Stage<O, (), Plan>,
    options: &O,
    verb: fn(&mut Context, &O) -> Result<Plan>,
) -> Result<Exit>
where
    O: Args + Serialize,
{
    let journal = Journaled::open(stage.name)?;
    journal.failures(|| {
        let begin = Instant::now();
        let tools = locate(&(stage.tools)(options))?;
        let mut cx = journal.context(Manifest::default(), tools);
        // Parsing takes milliseconds, so the description itself is read every time and nothing is cached.
        let plan = verb(&mut cx, options)?;
        tell(&cx)?;
        let value = serde_json::to_value(&plan).map_err(|e| Error::failed(e.to_string()))?;
        let text = canonical_value(&value)?;
        let key = stage_key_of(stage.name, &text);
        let section = cx.store.put(text.as_bytes())?;
        journal_started(&cx, stage.program, key, section)?;
        journal_finished(&cx, key, section, begin)?;
        cx.manifest.set_value::<Plan>(value);
        write_line(&cx.manifest.to_line()?)?;
        Ok(Exit::Done)
    })
}

/// A stage whose store and journal are open, so that every way it can end is written down.
struct Journaled {
    name: &'static str,
    store: Store,
    log: Log,
}

impl Journaled {
    fn open(name: &'static str) -> Result<Self> {
        let store = Store::open_default()?;
        store.sweep()?;
        let log = Log::open(&store)?;
        let store = store.hold(log.run())?;
        Ok(Self { name, store, log })
    }

    fn context(&self, manifest: Manifest, tools: Vec<Located>) -> Context {
        Context::new(
            self.name,
            self.store.clone(),
            self.log.clone(),
            manifest,
            tools,
        )
    }

    /// Does the work; an error is a line in the journal before it is one on stderr.
    fn failures(&self, work: impl FnOnce() -> Result<Exit>) -> Result<Exit> {
        let stage = self.name.to_owned();
        work().inspect_err(|error| {
            let event = match error.exit() {
                Exit::Interrupted => Event::Interrupted { stage },
                _ if is_no_reason(error) => return,
                exit => Event::StageFailed {
                    stage,
                    code: exit as u8,
                    message: cut(&error.to_string()),
                },
            };
            // The disk may be full: then the message on stderr must do.
            let _ = self.log.append(event);
        })
    }
}

fn journal_started(cx: &Context, program: &str, key: StageKey, facts: Object) -> Result<()> {
    let (stage, version) = (cx.name.to_owned(), program.to_owned());
    cx.journal(Event::StageStarted {
        stage,
        version,
        key: *key.digest(),
        facts,
    })
}

fn journal_finished(cx: &Context, key: StageKey, section: Object, begin: Instant) -> Result<()> {
    cx.journal(Event::StageFinished {
        stage: cx.name.to_owned(),
        key: *key.digest(),
        section,
        milliseconds: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
        peak_kib: memory::peak_kib(),
    })
}

/// Gives the section of `key`: from the store, or by `work`.
fn in_journal<O, I, S: Section>(
    cx: &mut Context,
    stage: &Stage<O, I, S>,
    key: StageKey,
    facts: &Value,
    work: impl FnOnce(&mut Context) -> Result<S>,
) -> Result<S> {
    let begin = Instant::now();
    let facts = cx.store.put(to_canonical(facts)?.as_bytes())?;
    journal_started(cx, stage.program, key, facts)?;
    last_words(cx);
    let recorded = cx
        .store
        .action(&key)?
        .filter(|v| objects_present(&cx.store, v));
    if let Some(section) = recorded.and_then(|v| serde_json::from_value(v).ok()) {
        let (name, digest) = (cx.name.to_owned(), *key.digest());
        cx.journal(Event::CacheHit {
            stage: name,
            key: digest,
            part: None,
        })?;
        cx.say("nothing to do, the result is in the store");
        (stage.found)(cx, &section)?;
        journal_finished(cx, key, stored(cx, &section)?.1, begin)?;
        return Ok(section);
    }
    let section = work(cx)?;
    interrupt::interrupted()?;
    let (value, object) = stored(cx, &section)?;
    // A negative verdict may be the fault of a busy host: it is asked for again next time.
    if (stage.judge)(&section) {
        cx.store.sync()?;
        cx.store.record_action(&key, &value)?;
    }
    journal_objects(cx, &value)?;
    cx.say(&format!("done in {:.1} s", begin.elapsed().as_secs_f64()));
    journal_finished(cx, key, object, begin)?;
    Ok(section)
}

/// A section as a value and as an object.
fn stored<S: Section>(cx: &Context, section: &S) -> Result<(Value, Object)> {
    let value = serde_json::to_value(section).map_err(|e| Error::failed(e.to_string()))?;
    let object = cx.store.put(to_canonical(&value)?.as_bytes())?;
    Ok((value, object))
}

/// Names the objects of a new section in the journal.
fn journal_objects(cx: &Context, section: &Value) -> Result<()> {
    for (what, value) in section.as_object().into_iter().flatten() {
        if let Ok(object) = serde_json::from_value::<Object>(value.clone()) {
            let (stage, what) = (cx.name.to_owned(), what.clone());
            cx.journal(Event::ObjectStored {
                stage,
                what,
                object,
            })?;
        }
    }
    Ok(())
}

/// From here on a signal leaves a line in the journal, even if the verb does not notice it in time.
fn last_words(cx: &Context) {
    let (log, stage) = (cx.log.clone(), cx.name.to_owned());
    interrupt::on_interrupt(move || {
        let _ = log.append(Event::Interrupted {
            stage: stage.clone(),
        });
    });
}

fn read_manifest(file: Option<PathBuf>) -> Result<String> {
    if let Some(path) = file {
        return text(std::fs::read(&path).at(&path)?);
    }
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        return Err(Error::new(Exit::Usage, "no manifest on stdin").advice(
            "pipe the output of the stage before into this one, or name it with --manifest FILE",
        ));
    }
    let mut bytes = Vec::new();
    stdin
        .read_to_end(&mut bytes)
        .map_err(|e| Error::failed(format!("stdin: {e}")))?;
    text(bytes)
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::refused(format!(
            "manifest: byte {at} is not UTF-8; expected one JSON object"
        ))
    })
}

fn write_line(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        // The section is in the store; a reader that went away has no need of the rest.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|e| Error::failed(format!("stdout: {e}"))),
    }
}
