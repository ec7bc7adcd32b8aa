//! The command `greenroom sessions egress`: shows, changes or tests the targets that a session may
//! reach.

use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value, json};

use super::Ending;
use super::client::{Client, text_of};
use super::output::{Table, cell, say, say_json};
use crate::domain::ids::SessionId;

/// Flags of `sessions egress`. Without any, the command shows the lists in force.
#[derive(Debug, Args)]
pub(super) struct Egress {
    /// The id of the session, `pbs_…`.
    id: SessionId,
    /// Limit the session to this target: `example.com`, `*.example.com`, `10.0.0.0/8:80,443`. May be repeated;
    /// replaces the list.
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,
    /// Refuse this target. May be repeated; replaces the list.
    #[arg(long, value_name = "RULE")]
    deny: Vec<String>,
    /// Send all connections through this proxy (http, https or socks5). `@FILE` reads its URL from
    /// a file, so that the password is on no command line.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Remove the list of allowed targets.
    #[arg(long, conflicts_with = "allow")]
    no_allow: bool,
    /// Remove the list of refused targets.
    #[arg(long, conflicts_with = "deny")]
    no_deny: bool,
    /// Stop using an upstream proxy.
    #[arg(long, conflicts_with = "upstream")]
    no_upstream: bool,
    /// Test whether this URL can be reached, and change nothing: with the lists in force, or with
    /// the other flags.
    #[arg(long, value_name = "URL")]
    check: Option<String>,
}

impl Egress {
    /// Returns the change that the flags request; none if they request none.
    fn change(&self) -> anyhow::Result<Option<Value>> {
        let mut change = Map::new();
        for (name, rules, none) in
            [("allow", &self.allow, self.no_allow), ("deny", &self.deny, self.no_deny)]
        {
            if none || !rules.is_empty() {
                change.insert(name.to_owned(), json!(rules));
            }
        }
        if let Some(upstream) = &self.upstream {
            let url = match upstream.strip_prefix('@') {
                Some(file) => std::fs::read_to_string(file)
                    .with_context(|| format!("--upstream: {file} cannot be read"))?,
                None => upstream.clone(),
            };
            change.insert("upstream".to_owned(), url.trim().into());
        }
        if self.no_upstream {
            change.insert("upstream".to_owned(), Value::Null);
        }
        Ok((!change.is_empty()).then_some(Value::Object(change)))
    }
}

/// Runs the command given by the flags.
pub(super) async fn egress(
    client: &Client,
    egress: Egress,
    as_json: bool,
) -> anyhow::Result<Ending> {
    let path = format!("/v1/browser_sessions/{}", egress.id);
    let change = egress.change()?;
    if let Some(url) = &egress.check {
        let trial = json!({ "url": url, "egress": change });
        let outcome = client.post(&format!("{path}/egress/check"), &trial).await?;
        let is_ok = outcome.get("ok") == Some(&Value::Bool(true));
        if as_json {
            say_json(&outcome);
        } else if is_ok {
            say(format_args!("reached in {} ms", cell(&outcome, "elapsed_ms")));
        } else {
            let message = text_of(&outcome, "message").unwrap_or_default();
            say(format_args!("{message} ({})", cell(&outcome, "code")));
        }
        return Ok(if is_ok { Ending::Done } else { Ending::Failed });
    }
    let session = match change {
        Some(change) => client.patch(&path, &json!({ "egress": change })).await?,
        None => client.get(&path).await?,
    };
    let shown = session.get("egress").cloned().unwrap_or_default();
    if as_json {
        say_json(&shown)
    } else {
        show(&session, &shown)
    }
    Ok(Ending::Done)
}

fn show(session: &Value, shown: &Value) {
    let rules = |lists: &Value, name: &str, none: &str| {
        let rules = lists.get(name).and_then(Value::as_array).into_iter().flatten();
        let rules: Vec<&str> = rules.filter_map(Value::as_str).collect();
        if rules.is_empty() { none.to_owned() } else { rules.join(" ") }
    };
    let network = session.get("isolation").map_or_else(|| "-".to_owned(), |it| cell(it, "network"));
    let organization = shown.get("organization").cloned().unwrap_or_default();
    let mut table = Table::new(&["", ""]);
    table.row(["network".to_owned(), network]);
    table.row(["allow".to_owned(), rules(shown, "allow", "all that the server allows")]);
    table.row(["deny".to_owned(), rules(shown, "deny", "-")]);
    table.row(["upstream".to_owned(), cell(shown, "upstream")]);
    table.row(["organization allows".to_owned(), rules(&organization, "allow", "-")]);
    table.row(["organization denies".to_owned(), rules(&organization, "deny", "-")]);
    table.print();
    let refused = shown.get("refused").and_then(Value::as_array);
    for target in refused.into_iter().flatten() {
        let message = text_of(target, "message").unwrap_or_default();
        say(format_args!("refused {} times: {message}", cell(target, "count")));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        egress: Egress,
    }

    fn change(flags: &[&str]) -> Option<Value> {
        let all = ["egress", "pbs_1"].iter().chain(flags);
        Cli::try_parse_from(all).unwrap().egress.change().unwrap()
    }

    #[test]
    fn only_what_was_given_is_changed() {
        assert_eq!(change(&[]), None);
        assert_eq!(
            change(&["--deny", "a.example", "--deny", "b.example", "--no-upstream"]),
            Some(json!({ "deny": ["a.example", "b.example"], "upstream": null }))
        );
        assert_eq!(change(&["--no-allow"]), Some(json!({ "allow": [] })));
        let file = std::env::temp_dir().join(format!("greenroom-upstream-{}", std::process::id()));
        std::fs::write(&file, "http://ann:hunter2@proxy:1\n").unwrap();
        let upstream = format!("@{}", file.display());
        let read = change(&["--upstream", &upstream]);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(read, Some(json!({ "upstream": "http://ann:hunter2@proxy:1" })));
    }
}
