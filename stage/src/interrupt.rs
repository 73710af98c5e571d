//! Ctrl-C, SIGTERM and SIGHUP, the end of the stage behind and of pipeline.sh: stop within a second, leave nothing
//! running.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Error, Result};
use crate::exit::Exit;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Whether the reason is that nobody reads the result.
static LONELY: AtomicBool = AtomicBool::new(false);
/// Process groups of the outside programs that run now: threads may run one each.
static CHILDREN: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
/// How long the stage may take to notice by itself.
const GRACE: Duration = Duration::from_millis(600);

/// Whether a signal has asked for the end. A long loop looks at it and returns the error.
///
/// # Errors
/// Exit code 130.
pub fn interrupted() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        Err(Error::interrupted())
    } else {
        Ok(())
    }
}

/// What is still to be said when a stage is ended in the middle.
static LAST_WORDS: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

/// Listens for signals. A stage that does not notice in time is ended after its last words.
pub fn listen() {
    // A second handler in one process is the only failure, and the first one serves as well.
    let _ = ctrlc::set_handler(stop);
    follow_pipeline();
}

/// Ends this program when pipeline.sh was killed, whose process id `RAMFORGE_PIPELINE` holds: nobody would wait
/// for it any more, and a second pipeline may be on its way.
fn follow_pipeline() {
    let id = std::env::var("RAMFORGE_PIPELINE").ok();
    let Some(pid) = id.and_then(|id| Pid::from_raw(id.parse().ok()?)) else {
        return;
    };
    let pipeline = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pipeline) => pipeline,
        Err(Errno::SRCH) => return stop(),
        // A kernel or a sandbox without pidfds: the stage ends with its work.
        Err(_) => return,
    };
    std::thread::spawn(move || {
        while poll(&mut [PollFd::new(&pipeline, PollFlags::IN)], None).is_err() {}
        stop();
    });
}

/// In a pipeline: a stage whose reader has ended works for nobody, and stops as if a signal had come. Elsewhere a
/// reader that goes away is no reason to leave work half done: the result is kept in the store.
pub(crate) fn listen_to_reader() {
    std::thread::spawn(|| {
        let stdout = std::io::stdout();
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        loop {
            match poll(&mut fds, None) {
                Err(Errno::INTR) => {}
                Ok(_) if fds[0].revents().contains(PollFlags::ERR) => break,
                _ => return,
            }
        }
        LONELY.store(true, Ordering::Relaxed);
        stop();
    });
}

/// Whether the stage was stopped because nobody reads its result.
pub(crate) fn is_lonely() -> bool {
    LONELY.load(Ordering::Relaxed)
}

fn stop() {
    if INTERRUPTED.swap(true, Ordering::Relaxed) {
        return;
    }
    kill_children();
    std::thread::sleep(GRACE);
    kill_children();
    let words = LAST_WORDS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(words) = words {
        words();
    }
    std::process::exit(Exit::Interrupted as i32);
}

/// Sets the last words.
pub(crate) fn on_interrupt(words: impl FnOnce() + Send + 'static) {
    *LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(words));
}

/// Names a process group to be killed with us.
pub(crate) fn guard_child(group: Pid) {
    children().push(group);
}

/// The group has ended.
pub(crate) fn forget_child(group: Pid) {
    children().retain(|g| *g != group);
}

fn children() -> MutexGuard<'static, Vec<Pid>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill_children() {
    for group in children().iter() {
        let _ = rustix::process::kill_process_group(*group, rustix::process::Signal::KILL);
    }
}
