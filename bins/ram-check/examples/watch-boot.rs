//! Boots a medium as a CD under BIOS and prints as JSON when it got where, and the RAM in use at the end.
//!
//! `watch-boot MEDIUM MIB [--ask]`: with `--ask` it logs in (root, linux), drops caches and asks for the RAM in
//! use. Times are seconds since QEMU was started; RAM is in MiB. For `tests/bench`; works with any builder's medium.
//! *Not here:* a verdict. A machine that does not come up is an answer, and the exit code is 0.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ram_check::qemu::{Bus, Firmware, Guest, Machine, Outcome};
use serde_json::{Value, json};

/// What a kernel says first. A boot loader's own "Loading Linux" comes earlier and is not meant.
const KERNEL: &str = r"Linux version|Kernel panic|STOPPED|login: ?$";
/// Time until the kernel speaks, on a busy machine.
const FIRMWARE: Duration = Duration::from_secs(300);
/// Time until a login prompt in software emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(900);
/// Time for a command inside.
const COMMAND: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let watched = match words[..] {
        [medium, mib] => watch(medium, mib, false),
        [medium, mib, "--ask"] => watch(medium, mib, true),
        _ => Err("usage: watch-boot MEDIUM MIB [--ask]".into()),
    };
    match watched {
        Ok(facts) => {
            println!("{facts}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("watch-boot: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(medium: &str, mib: &str, ask: bool) -> Result<Value, Box<dyn Error>> {
    let mib = mib.parse().map_err(|e| format!("{mib:?} MiB: {e}"))?;
    let machine = Machine::new(Path::new(medium), Bus::Cd, Firmware::Bios, mib);
    let mut guest = Guest::start(&machine)?;
    // A kernel that never speaks is for wait_up to judge.
    let kernel = guest.expect(KERNEL, 0, FIRMWARE).map(|_| guest.elapsed());
    let outcome = guest.wait_up(BOOT, |_| ())?;
    let sentence = match &outcome {
        Outcome::Refused(sentence) => sentence.clone(),
        _ => String::new(),
    };
    let mut facts = json!({"result": outcome.name(), "sentence": sentence, "ram_mib": mib});
    if let Ok(at) = kernel {
        facts["kernel"] = seconds(at);
    }
    for mark in guest.marks().iter().filter(|m| m.name != "kernel") {
        facts[mark.name] = seconds(mark.at);
    }
    if ask && outcome == Outcome::Login {
        guest.login("root", "linux")?;
        guest.run("sync; echo 3 >/proc/sys/vm/drop_caches", COMMAND)?;
        facts["used_mib"] = figure(&mut guest, "free -m | awk '/^Mem:/ { print $3 }'")?;
        // Of KIWI's brd and ours, of a zram, of a tmpfs.
        let pages = "mount -t debugfs none /sys/kernel/debug; \
            cat /sys/kernel/debug/ramdisk_pages/ram1 || \
            awk '{ print int($3 / 4096) }' /sys/block/zram1/mm_stat || \
            df --block-size=4096 --output=used -t tmpfs /";
        facts["ramdisk_pages"] = figure(&mut guest, pages)?;
    }
    Ok(facts)
}

fn seconds(time: Duration) -> Value {
    ((time.as_secs_f64() * 100.0).round() / 100.0).into()
}

/// The number on the last line that a command printed; null where there is none.
fn figure(guest: &mut Guest, command: &str) -> Result<Value, Box<dyn Error>> {
    let answer = guest.run(command, COMMAND)?;
    let last = answer.output.lines().last().unwrap_or_default();
    Ok(last.trim().parse::<u64>().map_or(Value::Null, Value::from))
}
