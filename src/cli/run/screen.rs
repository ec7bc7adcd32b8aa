//! The display of a run that is followed: lines, and a progress bar below them on a terminal.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use serde_json::Value;

use super::progress::{News, Step, refusals};
use crate::cli::client::text_of;
use crate::cli::output::{duration, say};

/// Displays the progress of a run.
#[derive(Debug)]
pub(super) struct Screen {
    /// True if nothing is shown, because the result is JSON.
    silent: bool,
    /// The progress bar, hidden without a terminal.
    bar: ProgressBar,
    /// The last printed line about the status, so that each is printed once.
    status: Mutex<String>,
}

impl Screen {
    /// Prints that the run was accepted. `blocks` is the number of its outermost blocks.
    pub(super) fn new(silent: bool, id: &str, blocks: Option<u64>) -> Self {
        let on_terminal = !silent && io::stdout().is_terminal() && io::stderr().is_terminal();
        let target =
            if on_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(blocks, target);
        let template = match blocks {
            Some(_) => "{spinner} [{bar:24}] {pos}/{len} {elapsed} {wide_msg}",
            None => "{spinner} {pos} done {elapsed} {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        if on_terminal {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        let screen = Self { silent, bar, status: Mutex::default() };
        screen.line(&format!("run {id}"));
        screen
    }

    fn line(&self, line: &str) {
        if !self.silent {
            self.bar.suspend(|| say(line));
        }
    }

    /// Prints the session of the run.
    pub(super) fn session(&self, session: &str, link: &str) {
        self.line(&format!("session {session}\nlive view: {link}"));
    }

    /// Prints the blocks that began or ended.
    pub(super) fn news(&self, news: &[News], ended: u64) {
        for news in news {
            match news {
                News::Began(step) => {
                    self.bar.set_message(format!("{} ({})", step.label, step.block_type));
                }
                News::Ended(step) => self.line(&ended_line(step)),
            }
        }
        self.bar.set_position(ended);
    }

    /// Prints the status of the run.
    pub(super) fn status(&self, status: &str, run: &Value) {
        let line = match status {
            // The server reports the holder of the session slightly later than the status.
            "queued" if run.get("waiting_for").is_none_or(Value::is_null) => return,
            "queued" => waits_line(run),
            "paused" => "paused; a person has to continue it".to_owned(),
            _ => String::new(),
        };
        let mut printed = self.status.lock();
        if *printed != line && !line.is_empty() {
            self.line(&line);
        }
        *printed = line;
    }

    /// Shows that the server does not respond at present.
    pub(super) fn silence(&self, cause: &str) {
        self.bar.set_message(format!("retrying: {cause}"));
    }

    /// Prints the end of the run.
    pub(super) fn end(&self, run: &Value) {
        self.clear();
        let status = text_of(run, "status").unwrap_or("ended");
        let took = duration(self.bar.elapsed().as_secs_f64());
        self.line(&format!("{status} after {took}"));
        if let Some(reason) = text_of(run, "failure_reason") {
            self.line(&format!("reason: {reason}"));
        }
        for refusal in refusals(run) {
            self.line(&format!("the network policy refused {refusal}"));
        }
        if let Some(output) = run.get("output").filter(|output| !output.is_null()) {
            self.line(&format!("output: {output:#}"));
        }
        let screenshots = run.get("screenshot_urls").and_then(Value::as_array);
        if let Some(latest) = screenshots.and_then(|urls| urls.first()).and_then(Value::as_str) {
            self.line(&format!("screenshot: {latest}"));
        }
    }

    /// Removes the bar from the terminal.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Returns the line of a waiting run: the holder of the session and the position in the queue, if
/// known.
fn waits_line(run: &Value) -> String {
    let whom = run.pointer("/waiting_for/runnable_id").and_then(Value::as_str);
    // The session that a run has created for itself waits for its browser, not for another holder.
    let whom = whom.filter(|whom| text_of(run, "run_id") != Some(whom));
    let whom = whom.map(|whom| format!(", which {whom} holds")).unwrap_or_default();
    let place = run.pointer("/waiting_for/place").and_then(Value::as_u64);
    let place = place.map(|place| format!("; place {place} in the queue")).unwrap_or_default();
    format!("waits for its session{whom}{place}")
}

fn ended_line(step: &Step) -> String {
    let Step { depth, label, block_type, status, seconds, failure, .. } = step;
    let took = seconds.map(|seconds| format!("  {}", duration(seconds))).unwrap_or_default();
    let failure = failure.as_ref().map(|failure| format!("  {failure}")).unwrap_or_default();
    format!("{:indent$}{label}  {block_type}  {status}{took}{failure}", "", indent = 2 + depth * 2)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_that_waits_says_for_whom_and_when_it_is_its_turn() {
        let run = json!({"waiting_for": {"runnable_id": "wr_1", "place": 2}});
        let expected = "waits for its session, which wr_1 holds; place 2 in the queue";
        assert_eq!(waits_line(&run), expected);
        assert_eq!(waits_line(&json!({"waiting_for": null})), "waits for its session");
        let own = json!({"run_id": "wr_1", "waiting_for": {"runnable_id": "wr_1", "place": null}});
        assert_eq!(waits_line(&own), "waits for its session");
    }

    #[test]
    fn a_block_that_has_ended_is_one_line_with_its_duration_and_its_reason() {
        let step = Step {
            id: "wrb_1".into(),
            depth: 1,
            label: "open".into(),
            block_type: "goto_url".into(),
            status: "failed".into(),
            seconds: Some(0.25),
            failure: Some("no such host".into()),
        };
        assert_eq!(ended_line(&step), "    open  goto_url  failed  250 ms  no such host");
    }
}
