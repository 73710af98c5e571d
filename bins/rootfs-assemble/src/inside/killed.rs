//! Programs that were killed while another one waited for them.
//!
//! A maintainer script may take the death of a program for an answer (`if was-enabled …`, `… || true`) and end well.
//! What it leaves is not what its package wanted, and must not be recorded. The kernel tells nobody but the parent that
//! a program was killed; what remains is that shells say so, and that the kernel counts what it killed itself for lack
//! of memory.
//!
//! *Not seen:* what the description's own scripts say, which may kill what they have started; and one that somebody kills
//! by hand below a parent that is no shell, or where the shell keeps quiet: bash in a
//! pipe or a substitution, dash where the program's errors go to /dev/null.

use std::fs;

/// How many processes of this host the kernel has killed for lack of memory since it started. 0 where it does not say.
pub fn for_lack_of_memory() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let mut counts = text.lines().filter_map(|l| l.strip_prefix("oom_kill "));
    counts.next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The line of a program's output in which a shell says that a program was killed: `Killed` alone from dash,
/// `NAME: line N: PID Killed COMMAND` from bash.
pub fn line(said: &str) -> Option<&str> {
    said.lines().find(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let by_bash = |pair: &[&str]| pair[1] == "Killed" && pair[0].parse::<u32>().is_ok();
        words == ["Killed"]
            || words.first().is_some_and(|w| w.ends_with(':')) && words.windows(2).any(by_bash)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// What a shell prints of a script in which a program is killed and the script goes on.
    fn said(shell: &str) -> String {
        let script = "if sh -c 'kill -9 $$' >/dev/null; then :; fi; echo done";
        let output = Command::new(shell).args(["-c", script]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    #[test]
    fn shells_say_that_a_program_was_killed() {
        for shell in ["dash", "bash"] {
            let said = said(shell);
            assert!(line(&said).is_some(), "{shell}: {said}");
        }
    }

    #[test]
    fn other_words_are_no_such_line() {
        for text in [
            "",
            "Killed by death",
            "Setting up killall (1.2-3) ...",
            "note: Killed",
            "12 Killed",
        ] {
            assert_eq!(line(text), None, "{text}");
        }
    }

    #[test]
    fn the_kernel_says_how_often_memory_was_short() {
        let text = fs::read_to_string("/proc/vmstat").unwrap();
        assert!(text.contains("\noom_kill "), "{text}");
    }
}
