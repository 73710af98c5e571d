//! The worker: what happens in the sandbox, as pid 1 and uid 0 of its namespaces.
//!
//! It reads a [`Job`] from stdin and writes [`Message`]s to stdout. The build tree is its root directory;
//! the store lies at [`mounts::STORE`], out of sight of the programs that run in the tree.

mod accounts;
mod base;
mod capture;
mod database;
mod dpkg;
mod files;
mod guest;
mod initramfs;
mod kernel;
mod mounts;
mod overlay;
mod removal;
mod scripts;
mod settings;
mod tidy;
mod unpack;

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use manifest::{StageKey, part_key, to_canonical};
use serde_json::Value;
use stage::{Error, Event, Result};
use store::Store;
use store::tree::{Entry, Kind, Tree};
use sys::namespace::{Network, Power, enter};

use self::capture::Captured;
use self::initramfs::Made;
use crate::job::{Job, Message, Outcome};
pub use mounts::STORE;

/// The stage that the worker belongs to.
const STAGE: &str = "rootfs-assemble";

/// The worker's main function.
pub fn main() -> ExitCode {
    let said = match serve() {
        Ok(outcome) => Message::Done(Box::new(outcome)),
        Err(Failure::Sandbox { step, message }) => Message::Failed {
            code: stage::Exit::Missing as u8,
            step: Some(step),
            message,
            advice: None,
        },
        Err(Failure::Work(error)) => {
            let text = error.to_string();
            let (message, advice) = match text.split_once("\n  help: ") {
                Some((message, advice)) => (message.to_owned(), Some(advice.to_owned())),
                None => (text, None),
            };
            let code = error.exit() as u8;
            Message::Failed {
                code,
                step: None,
                message,
                advice,
            }
        }
    };
    say(&Message::Peak(stage::peak_kib()));
    say(&said);
    ExitCode::SUCCESS
}

/// Why there is no outcome.
enum Failure {
    Sandbox { step: String, message: String },
    Work(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Work(error)
    }
}

fn serve() -> std::result::Result<Outcome, Failure> {
    let mut lines = std::io::stdin().lock().lines();
    let line = lines.next().and_then(std::result::Result::ok);
    let job: Job = serde_json::from_str(&line.unwrap_or_default())
        .map_err(|e| Error::failed(format!("the worker's job: {e}")))?;
    let power = if job.user_namespace {
        Power::UserNamespace
    } else {
        Power::Root
    };
    let mapped = || {
        say(&Message::Ready);
        match lines.next() {
            Some(answer) => answer.map(|_| ()),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    };
    let refused = |step: &str, message: String| Failure::Sandbox {
        step: step.to_owned(),
        message,
    };
    let network = match job.network {
        true => Network::Host,
        false => Network::None,
    };
    enter(power, network, mapped).map_err(|e| refused(e.step, e.to_string()))?;
    if is_orphan() {
        return Err(Error::interrupted().into());
    }
    mounts::build(&job).map_err(|(step, e)| refused(step, format!("{step}: {e}")))?;
    let store = Store::open(mounts::STORE.as_ref())
        .and_then(|store| store.hold(&job.run))
        .map_err(Error::from)?;
    // Trees that a killed run left on disk belong to ids that only this process may remove.
    store.sweep().map_err(Error::from)?;
    let done = work(&job, &store);
    let damage = store.damage().into_iter();
    damage.for_each(|d| say(&Message::Damage(d)));
    if done.is_err() && job.ram.is_none() {
        // Its files belong to ids that the caller may not remove afterwards.
        quiet()?;
        mounts::clear_tree()?;
    }
    Ok(done?)
}

/// Whether the stage died before the kernel knew that this process must die with it: then nobody holds the other
/// end of stdin.
fn is_orphan() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdin = std::io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

/// Says a line to the stage. When the stage is gone, so is this process in a moment.
fn say(message: &Message) {
    if let Ok(line) = serde_json::to_string(message) {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

/// Does a part of the work, with its name shown and its time told.
fn part<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(&Message::Progress(name.to_owned()));
    let begin = Instant::now();
    let done = work()?;
    say(&Message::Part {
        name: name.to_owned(),
        milliseconds: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    Ok(done)
}

/// The key of a part whose outcome is kept. The journal names what it is made of.
fn key_of(store: &Store, part: &str, facts: &Value) -> Result<StageKey> {
    let key = part_key(STAGE, part, facts)?;
    say(&Message::Event(Box::new(Event::PartStarted {
        stage: STAGE.to_owned(),
        part: part.to_owned(),
        key: *key.digest(),
        facts: store.put(to_canonical(facts)?.as_bytes())?,
    })));
    Ok(key)
}

/// Says that the outcome of a part was in the store.
fn found(part: &str, key: &StageKey) {
    say(&Message::Event(Box::new(Event::CacheHit {
        stage: STAGE.to_owned(),
        key: *key.digest(),
        part: Some(part.to_owned()),
    })));
}

fn warn(text: impl Into<String>) {
    say(&Message::Warning(text.into()));
}

/// From an empty directory to a tree in the store.
fn work(job: &Job, store: &Store) -> Result<Outcome> {
    let mut base = base::prepare(store, job)?;
    let guest = guest::Guest::new(store, base.epoch);
    if let Some(object) = &job.image.overlay {
        let tree = Tree::read(store, object)?;
        part("overlay", || overlay::lay(store, &tree))?;
    }
    part("settings", || settings::apply(&guest, store, &job.image))?;
    scripts::run(&guest, job)?;
    quiet()?;
    let installed = database::installed()?;
    part("tidy", || tidy::tidy(base.epoch))?;
    let root = mounts::TREE.as_ref();
    let seen = part("capture", || {
        capture::capture(store, root, base.epoch, &base.captured)
    })?;
    let kernel = kernel::find()?;
    let initramfs = initramfs::make(&guest, &kernel, &seen.tree)?;
    let captured = with_initramfs(store, base.epoch, seen, &initramfs)?;
    let tree = captured.tree.write(store)?;
    base.recorded()?;
    store.sync()?;
    if job.ram.is_none() {
        mounts::clear_tree()?;
    }
    Ok(Outcome {
        tree,
        bytes: captured.bytes,
        entries: captured.tree.len() as u64,
        initramfs: initramfs.path().and_then(|path| captured.object(path)),
        kernel: kernel.describe(&captured.tree)?,
        source_date_epoch: base.epoch,
        installed,
    })
}

/// The capture `seen` with the initramfs that was made since.
fn with_initramfs(store: &Store, epoch: u64, seen: Captured, made: &Made) -> Result<Captured> {
    let root = mounts::TREE.as_ref();
    let is_dir = |path| seen.tree.get(path).is_some_and(|e| e.kind == Kind::Dir);
    // A further name of what stood at the path has become a file of its own.
    let has_names = |path: &str| {
        let is_name = |e: &Entry| matches!(&e.kind, Kind::Hardlink(to) if to == path);
        seen.tree.iter().any(is_name)
    };
    match made {
        Made::None => Ok(seen),
        Made::Placed(path) => match path.rsplit_once('/') {
            Some((dir, _)) if is_dir(dir) && !has_names(path) => {
                capture::again(store, root, epoch, seen, &[dir, path])
            }
            _ => capture::capture(store, root, epoch, &seen),
        },
        Made::Run(_) => {
            quiet()?;
            tidy::empty_temporary()?;
            part("capture again", || {
                capture::capture(store, root, epoch, &seen)
            })
        }
    }
}

/// Ends what programs of the tree have left running.
fn quiet() -> Result<()> {
    sys::namespace::kill_all_others()
        .map_err(|e| Error::failed(format!("programs left running in the tree: {e}")))
}
