//! A shell on the serial line: commands in, status and output back.
//!
//! Every command stands between two marks that are typed in two pieces, so that an echo of the command
//! never looks like its answer.

use std::time::Duration;

use super::error::{Error, Result};
use super::guest::Guest;

/// Longest line that is typed; terminals take 4095 bytes.
const LINE_LIMIT: usize = 3500;
/// Time for a prompt to follow a typed line.
const PROMPT: Duration = Duration::from_secs(90);
/// Time for a shell to answer; and how often it is asked, or the line is listened to.
const PROBE: Duration = Duration::from_secs(10);
const PROBES: u32 = 9;
/// Time between a prompt for a password and the password: login(1) throws away what was typed before. A line that has
/// said nothing for so long waits for an answer.
const PAUSE: Duration = Duration::from_millis(700);
/// Ends whatever is being typed or run.
const CTRL_C: &str = "\x03";
/// How often a login is tried: a message of the kernel may get into the middle of one.
const TRIES: u32 = 3;

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its exit status.
    pub status: i32,
    /// What it printed on both outputs, without the last newline.
    pub output: String,
}

impl Guest {
    /// Logs in at the prompt and makes the shell quiet: no echo, no prompt, no kernel messages between.
    ///
    /// # Errors
    /// [`Error::Login`], [`Error::Silent`], [`Error::Ended`].
    pub fn login(&mut self, user: &str, password: &str) -> Result<()> {
        for _ in 0..TRIES {
            let from = self.position();
            self.type_line(user)?;
            // Messages of the kernel may follow any prompt on its line, so none is looked for at a line's end.
            if self.expect("assword:", from, PROMPT).is_ok() {
                std::thread::sleep(PAUSE);
                let from = self.position();
                self.type_line(password)?;
                if self.is_inside(from)? {
                    return self.quiet();
                }
            }
            // Whatever was asked for: an empty answer leads to a new prompt.
            let from = self.position();
            self.type_line("")?;
            self.expect("login: ", from, PROMPT)?;
        }
        Err(Error::Login {
            user: user.to_owned(),
        })
    }

    /// Runs one line of shell and waits for its end.
    ///
    /// # Errors
    /// [`Error::Silent`] where it has not ended in time, [`Error::TooLong`], [`Error::Ended`].
    pub fn run(&mut self, command: &str, limit: Duration) -> Result<Answer> {
        self.commands += 1;
        let n = self.commands;
        let line = format!(
            "echo BEG''IN-{n}; {{ {command}; }} </dev/null 2>&1; s=$?; echo; echo EN''D-{n} $s"
        );
        if line.len() > LINE_LIMIT {
            return Err(Error::TooLong(line.len()));
        }
        let from = self.position();
        self.type_line(&line)?;
        let text = self.expect(&format!(r"(?m)^END-{n} \d+$"), from, limit)?;
        Ok(answer(&text, n))
    }

    /// Switches the system off from inside and waits until the machine is off.
    ///
    /// # Errors
    /// [`Error::Silent`] where it does not go down in time.
    pub fn power_off(&mut self, limit: Duration) -> Result<()> {
        let from = self.position();
        self.type_line("systemctl poweroff")?;
        // QEMU closes the line as soon as the kernel has said it.
        self.expect("reboot: Power down", from, limit)?;
        self.wait_exit(PROMPT)
    }

    /// Whether a shell answers; not, where the log says after `from` that the login is refused. It then waits for
    /// the next line.
    fn is_inside(&mut self, from: usize) -> Result<bool> {
        for _ in 0..PROBES {
            // What is typed before the shell is there may be lost, or half of it.
            self.settle();
            self.type_line("echo IN''SIDE")?;
            match self.expect("INSIDE|incorrect", from, PROBE) {
                Ok(text) => {
                    self.settle();
                    return Ok(text.ends_with("INSIDE"));
                }
                Err(Error::Silent { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Waits until nothing has been said for a moment: a prompt stands at the end then, or soon will.
    fn settle(&self) {
        for _ in 0..PROBES {
            let before = self.position();
            std::thread::sleep(PAUSE);
            if self.position() == before {
                return;
            }
        }
    }

    fn quiet(&mut self) -> Result<()> {
        self.type_line("dmesg -n 1; stty -echo; exec env PS1= PS2= ENV= TERM=dumb sh")?;
        for _ in 1..PROBES {
            self.settle();
            match self.run("set +o emacs", PROBE) {
                // Half of a line may have been lost, and leave an open quote: away with it.
                Err(Error::Silent { .. }) => self.type_line(CTRL_C)?,
                done => return done.map(|_| ()),
            }
        }
        self.run("set +o emacs", PROMPT).map(|_| ())
    }
}

/// Takes the answer to command `n` out of the text.
fn answer(text: &str, n: u32) -> Answer {
    let begin = format!("BEGIN-{n}\n");
    let text = text.split_once(&begin).map_or(text, |(_, after)| after);
    let (output, end) = text.rsplit_once('\n').unwrap_or(("", text));
    let status = end.rsplit_once(' ').and_then(|(_, s)| s.parse().ok());
    Answer {
        status: status.unwrap_or(-1),
        output: output.trim_end_matches('\n').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_stands_between_the_marks() {
        let text = "echo BEG''IN-4; …\nBEGIN-4\none\ntwo\n\nEND-4 3";
        let expected = Answer {
            status: 3,
            output: "one\ntwo".to_owned(),
        };
        assert_eq!(answer(text, 4), expected);
        assert_eq!(answer("BEGIN-1\n\nEND-1 0", 1).output, "");
    }
}
