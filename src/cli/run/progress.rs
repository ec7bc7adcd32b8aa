//! The progress of a run, read from its timeline.

use std::collections::HashMap;

use serde_json::Value;

use crate::cli::client::text_of;
use crate::domain::run::BlockStatus;

/// One block of a run, from its timeline.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Step {
    /// The id of the block run, `wrb_…`.
    pub(in crate::cli) id: String,
    /// The number of blocks that enclose it.
    pub(in crate::cli) depth: usize,
    /// The block's label in the definition.
    pub(in crate::cli) label: String,
    /// The block's type in the definition.
    pub(in crate::cli) block_type: String,
    /// The status, as in the API.
    pub(in crate::cli) status: String,
    /// The duration, in seconds, once it has ended.
    pub(in crate::cli) seconds: Option<f64>,
    /// The reason for its failure.
    pub(in crate::cli) failure: Option<String>,
}

impl Step {
    /// True if the block has ended.
    fn has_ended(&self) -> bool {
        self.status.parse::<BlockStatus>().is_ok_and(|status| status != BlockStatus::Running)
    }
}

/// Returns the blocks of a timeline in the order in which they began, inner blocks after the outer
/// one.
pub(in crate::cli) fn steps(timeline: &Value) -> Vec<Step> {
    let mut steps = Vec::new();
    collect(timeline, 0, &mut steps);
    steps
}

fn collect(entries: &Value, depth: usize, steps: &mut Vec<Step>) {
    let mut blocks: Vec<(&Value, &Value)> = entries
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| Some((entry, entry.get("block").filter(|block| block.is_object())?)))
        .collect();
    // The API returns the newest first; blocks that began at the same instant are ordered by id.
    blocks.sort_by_key(|(_, block)| {
        let member = |name| text_of(block, name).unwrap_or_default();
        let id = member("workflow_run_block_id");
        (member("created_at"), id.len(), id)
    });
    for (entry, block) in blocks {
        let member = |name| text_of(block, name).unwrap_or_default().to_owned();
        steps.push(Step {
            id: member("workflow_run_block_id"),
            depth,
            label: member("label"),
            block_type: member("block_type"),
            status: member("status"),
            seconds: block.get("duration").and_then(Value::as_f64),
            failure: text_of(block, "failure_reason").map(str::to_owned),
        });
        if let Some(children) = entry.get("children") {
            collect(children, depth + 1, steps);
        }
    }
}

/// Returns the requests of a run's pages that the network policy refused: the target of each, and the setting
/// that allows it. A page that was refused looks like one without the elements that the blocks look for.
pub(in crate::cli) fn refusals(run: &Value) -> Vec<String> {
    let refused = run.get("egress_refused").and_then(Value::as_array).into_iter().flatten();
    let line = |refused: &Value| {
        let target = text_of(refused, "target").unwrap_or("further targets");
        let message = text_of(refused, "message").unwrap_or_default();
        format!("{target}: {message}")
    };
    refused.map(line).collect()
}

/// A change since the last poll.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum News {
    /// A block has begun.
    Began(Step),
    /// A block has ended.
    Ended(Step),
}

/// Tracks the changes of a run that were already reported.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// True if the end of the block with this id was reported.
    reported: HashMap<String, bool>,
    /// The number of outermost blocks that have ended.
    ended: u64,
}

impl Progress {
    /// Returns the changes in a timeline since the last call, in order.
    pub(super) fn news(&mut self, timeline: &Value) -> Vec<News> {
        let mut news = Vec::new();
        let steps = steps(timeline);
        self.ended = 0;
        for step in steps {
            let ended = step.has_ended();
            self.ended += u64::from(ended && step.depth == 0);
            match self.reported.insert(step.id.clone(), ended) {
                None => {
                    news.push(News::Began(step.clone()));
                    if ended {
                        news.push(News::Ended(step));
                    }
                }
                Some(false) if ended => news.push(News::Ended(step)),
                Some(_) => (),
            }
        }
        news
    }

    /// Returns the number of outermost blocks that have ended.
    pub(super) fn ended(&self) -> u64 {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn block(id: u32, status: &str, children: &Value) -> Value {
        json!({"type": "block", "children": children, "block": {
            "workflow_run_block_id": format!("wrb_{id}"), "label": format!("b{id}"),
            "block_type": "wait", "status": status, "duration": 1.5,
            "created_at": format!("2026-01-01T00:00:{id:02}Z"),
        }})
    }

    #[test]
    fn refusals_name_the_target_and_the_setting() {
        let run = json!({"egress_refused": [{"target": "127.0.0.1:8000", "message": "add it"}]});
        assert_eq!(refusals(&run), ["127.0.0.1:8000: add it"]);
        assert!(refusals(&json!({})).is_empty());
    }

    fn reported(news: &[News]) -> Vec<String> {
        let line = |news: &News| match news {
            News::Began(step) => format!("{} began", step.label),
            News::Ended(step) => format!("{} {}", step.label, step.status),
        };
        news.iter().map(line).collect()
    }

    #[test]
    fn each_block_is_told_once_when_it_begins_and_once_when_it_ends() {
        let mut progress = Progress::default();
        let none = json!([]);
        let first = json!([block(1, "running", &none)]);
        assert_eq!(reported(&progress.news(&first)), ["b1 began"]);
        assert_eq!(reported(&progress.news(&first)), Vec::<String>::new());
        let later = json!([block(2, "failed", &none), block(1, "completed", &none)]);
        assert_eq!(reported(&progress.news(&later)), ["b1 completed", "b2 began", "b2 failed"]);
        assert_eq!(reported(&progress.news(&later)), Vec::<String>::new());
        assert_eq!(progress.ended(), 2);
    }

    #[test]
    fn blocks_within_a_loop_come_after_it_and_do_not_count() {
        let inner = json!([block(3, "completed", &json!([])), block(2, "completed", &json!([]))]);
        let timeline = json!([block(1, "running", &inner)]);
        let mut progress = Progress::default();
        assert_eq!(
            reported(&progress.news(&timeline)),
            ["b1 began", "b2 began", "b2 completed", "b3 began", "b3 completed"]
        );
        assert_eq!(progress.ended(), 0);
        let depths: Vec<_> = steps(&timeline).iter().map(|step| step.depth).collect();
        assert_eq!(depths, [0, 1, 1]);
    }
}
