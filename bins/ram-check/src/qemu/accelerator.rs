//! What runs the guest's code: KVM where it works, else software emulation.
//!
//! That /dev/kvm opens and makes a virtual machine proves nothing: in a nested machine it may do both and run no firmware
//! (tried: Linux 6.18 as a guest without `svm`; the guest spins for ever). So QEMU itself is the probe. SeaBIOS must say
//! its name on the serial line within [`LIMIT`]; in software emulation it takes 0.2 s.
//!
//! RAMFORGE_ACCEL names an accelerator that is taken without a probe.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::machine::{self, SETPRIV};

/// Software emulation, as `-accel` takes it. It runs everywhere the same.
const TCG: &str = "tcg,thread=multi";
/// The device of hardware virtualisation.
const KVM: &str = "/dev/kvm";
/// How long the firmware may take until KVM counts as hanging.
const LIMIT: Duration = Duration::from_millis(1500);
/// What the firmware says of itself.
const SIGN: &str = "SeaBIOS";

/// An accelerator, and why it is that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accelerator {
    /// QEMU's `-accel`.
    pub argument: String,
    /// The reason, in words.
    pub reason: String,
}

impl Accelerator {
    /// Its name alone: `kvm` or `tcg`.
    pub fn name(&self) -> &str {
        self.argument.split(',').next().unwrap_or_default()
    }

    /// What [`Machine::new`](super::Machine::new) takes: RAMFORGE_ACCEL, else software emulation. Nothing is probed.
    pub(super) fn preset() -> String {
        named().unwrap_or_else(|| TCG.to_owned())
    }

    /// The one for this host, probed once in the life of the process.
    pub fn probed() -> &'static Self {
        static FOUND: OnceLock<Accelerator> = OnceLock::new();
        FOUND.get_or_init(|| match named() {
            Some(argument) => Self {
                argument,
                reason: "RAMFORGE_ACCEL says so".to_owned(),
            },
            None => Self::of(probe("kvm", Path::new(KVM), machine::QEMU, LIMIT)),
        })
    }

    fn of(probe: Result<(), String>) -> Self {
        let (argument, reason) = match probe {
            Ok(()) => ("kvm", format!("{KVM} runs firmware")),
            Err(fact) => (TCG, fact),
        };
        Self {
            argument: argument.to_owned(),
            reason,
        }
    }
}

fn named() -> Option<String> {
    let named = std::env::var("RAMFORGE_ACCEL").ok();
    named.filter(|name| !name.is_empty())
}

/// Whether `qemu` runs SeaBIOS with an accelerator, whose device must be there, within `limit`; else why not.
fn probe(accelerator: &str, device: &Path, qemu: &str, limit: Duration) -> Result<(), String> {
    let shown = device.display();
    if !device.exists() {
        return Err(format!("{shown} is not there"));
    }
    let program = |name: &str| stage::find_program(name).unwrap_or_else(|| name.into());
    let mut child = Command::new(program(SETPRIV))
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program(qemu))
        .args(["-accel", accelerator])
        .args("-nodefaults -no-user-config -display none -vga none -serial stdio".split(' '))
        // Without graphics SeaBIOS speaks on the serial line.
        .args("-machine pc,graphics=off -m 16".split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| format!("{SETPRIV}: {e}"))?;
    let answer = listen(&mut child, limit);
    let _ = child.kill();
    let said = answer.map_err(|_| {
        let milliseconds = limit.as_millis();
        format!("{shown} is there, but no firmware ran within {milliseconds} ms")
    });
    let verdict = said.and_then(|said| match said {
        true => Ok(()),
        false => Err(format!("{shown}: QEMU says: {}", complaint(&mut child))),
    });
    // A process that hangs in the kernel does not die now: nobody shall wait for it.
    std::thread::spawn(move || child.wait());
    verdict
}

/// Whether the firmware speaks, or QEMU ends without that.
fn listen(child: &mut Child, limit: Duration) -> Result<bool, RecvTimeoutError> {
    let begin = Instant::now();
    let (to, from) = channel();
    let mut output = child.stdout.take();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Some(n @ 1..) = output.as_mut().and_then(|o| o.read(&mut buffer).ok()) {
            let _ = to.send(buffer[..n].to_vec());
        }
    });
    let mut said = Vec::new();
    loop {
        match from.recv_timeout(limit.saturating_sub(begin.elapsed())) {
            Ok(bytes) => said.extend(bytes),
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
            Err(timeout) => return Err(timeout),
        }
        if String::from_utf8_lossy(&said).contains(SIGN) {
            return Ok(true);
        }
    }
}

/// The last line on QEMU's stderr, which has ended.
fn complaint(child: &mut Child) -> String {
    let mut text = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    text.lines().last().unwrap_or("nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program in the place of QEMU, and what the probe says of it.
    fn probed(script: &str) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qemu");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let limit = Duration::from_millis(1500);
        probe("kvm", Path::new("/dev/null"), path.to_str().unwrap(), limit)
    }

    #[test]
    fn the_real_qemu_answers() {
        let limit = Duration::from_secs(20);
        let tcg = probe("tcg", Path::new("/dev/null"), machine::QEMU, limit);
        assert_eq!(tcg, Ok(()));
        let other = probe("no-such", Path::new("/dev/null"), machine::QEMU, limit).unwrap_err();
        assert!(
            other.contains("QEMU says: ") && other.contains("no-such"),
            "{other}"
        );
    }

    #[test]
    fn what_hangs_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        probed(&format!("echo $$ >{}; exec sleep 600", pid.display())).unwrap_err();
        let pid = std::fs::read_to_string(pid).unwrap();
        let process = Path::new("/proc").join(pid.trim());
        let begin = Instant::now();
        while process.exists() {
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "{pid} still runs"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn firmware_that_speaks_is_a_proof() {
        assert_eq!(probed("echo 'SeaBIOS (version 1)'; exec sleep 600"), Ok(()));
    }

    #[test]
    fn a_kvm_that_hangs_is_given_up() {
        let hangs = probed("exec sleep 600").unwrap_err();
        assert_eq!(
            hangs,
            "/dev/null is there, but no firmware ran within 1500 ms"
        );
        assert_eq!(Accelerator::of(Err(hangs)).name(), "tcg");
    }

    #[test]
    fn what_qemu_refuses_is_said() {
        let refused = probed("echo warning >&2; echo 'no access' >&2; exit 1").unwrap_err();
        assert_eq!(refused, "/dev/null: QEMU says: no access");
        let odd = probed("printf 'no \\351\\n' >&2; exit 1").unwrap_err();
        assert_eq!(odd, "/dev/null: QEMU says: no \u{fffd}");
        let absent = probe("kvm", Path::new("/no/kvm"), "/no/qemu", LIMIT).unwrap_err();
        assert_eq!(absent, "/no/kvm is not there");
    }
}
