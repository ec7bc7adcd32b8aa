//! Settings of the execution of workflows.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::engine::{self, Smtp};
use super::guard;
use crate::domain::secret::Secret;
use crate::egress::rule::Rule;

/// Settings of the section `workflow`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The time for which a block waits for an element, unless it says otherwise.
    pub element_timeout_seconds: u64,
    /// The time limit for a page to load, unless its block says otherwise.
    pub navigation_timeout_seconds: u64,
    /// True if an unknown name in a template is an error, and not an empty text.
    pub strict_templates: bool,
    /// True if blocks may send requests to private, loopback and link-local addresses.
    pub allow_private_targets: bool,
    /// Targets to which blocks may send requests at any address, as rules of `egress.allow`: a host,
    /// `*.host`, an address or a network, each with optional ports. An alias of that setting.
    pub allowed_hosts: Vec<String>,
    /// The rules of `egress.allow`.
    #[serde(skip)]
    pub egress_allow: Vec<Rule>,
    /// The rules of `egress.deny`.
    #[serde(skip)]
    pub egress_deny: Vec<Rule>,
    /// True if a screenshot is kept after each block that drives the page, and at the end.
    pub block_screenshots: bool,
    /// The mail server for `send_email` and `human_interaction`.
    pub smtp_host: Option<String>,
    /// The port of the mail server; 465 uses TLS from the start, any other STARTTLS.
    pub smtp_port: u16,
    /// The user name for the mail server.
    pub smtp_username: Option<String>,
    /// The password for the mail server.
    pub smtp_password: Option<Secret>,
    /// True to connect to the mail server without TLS; for a mail server on this machine.
    pub smtp_plain: bool,
    /// The Python that runs `code` blocks: one that has the package `playwright`. Without this
    /// setting, `python3` is searched in `desktop.path`.
    pub python: Option<PathBuf>,
    /// The time limit of a `code` block.
    pub code_seconds: u64,
    /// The memory limit of a `code` block.
    pub code_memory_megabytes: u64,
    /// The maximum size of the output of a `code` block, and of the text that it prints.
    pub code_output_kilobytes: u64,
    /// The URL at which the agent accepts blocks that need a model. Without it, such blocks fail.
    pub agent_url: Option<Url>,
    /// The bearer token that the server sends to the agent.
    pub agent_token: Option<Secret>,
    /// The time limit for the agent to execute a block.
    pub agent_seconds: u64,
    /// The longest time without a report from the agent, after which its block fails.
    pub agent_silence_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            element_timeout_seconds: 30,
            navigation_timeout_seconds: 60,
            strict_templates: false,
            allow_private_targets: false,
            allowed_hosts: Vec::new(),
            egress_allow: Vec::new(),
            egress_deny: Vec::new(),
            block_screenshots: true,
            smtp_host: None,
            smtp_port: 587,
            smtp_username: None,
            smtp_password: None,
            smtp_plain: false,
            python: None,
            code_seconds: 300,
            code_memory_megabytes: 1024,
            code_output_kilobytes: 1024,
            agent_url: None,
            agent_token: None,
            agent_seconds: 30 * 60,
            agent_silence_seconds: 2 * 60,
        }
    }
}

impl Settings {
    /// Returns the invalid settings, each as its key and the reason.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let positive = [
            ("element_timeout_seconds", self.element_timeout_seconds),
            ("navigation_timeout_seconds", self.navigation_timeout_seconds),
            ("code_seconds", self.code_seconds),
            ("code_output_kilobytes", self.code_output_kilobytes),
            ("agent_seconds", self.agent_seconds),
            ("agent_silence_seconds", self.agent_silence_seconds),
        ];
        for (key, value) in positive {
            if value == 0 {
                problems.push((key, "must be at least 1".to_owned()));
            }
        }
        for text in &self.allowed_hosts {
            if let Err(cause) = text.parse::<Rule>() {
                problems.push(("allowed_hosts", format!("`{text}`: {cause}")));
            }
        }
        if self.code_memory_megabytes < 64 {
            problems.push(("code_memory_megabytes", "must be at least 64".to_owned()));
        }
        if let Some(url) = &self.agent_url
            && (!matches!(url.scheme(), "http" | "https") || url.host().is_none())
        {
            let message = format!("`{url}` is not an address that starts with http:// or https://");
            problems.push(("agent_url", message));
        }
        problems
    }

    /// Returns the records to keep of a run that asks for none.
    pub fn records(&self) -> engine::Records {
        engine::Records { pictures: self.block_screenshots, ..engine::Records::default() }
    }

    /// Returns the rules of `allowed_hosts` and of `egress.allow`.
    fn allowed_rules(&self) -> Vec<Rule> {
        // Invalid rules were rejected when the settings were read.
        let named = self.allowed_hosts.iter().filter_map(|text| text.parse().ok());
        named.chain(self.egress_allow.iter().cloned()).collect()
    }

    /// Converts to the settings of the engine.
    pub fn engine(&self) -> engine::Settings {
        let smtp = self.smtp_host.clone().map(|host| Smtp {
            host,
            port: self.smtp_port,
            username: self.smtp_username.clone(),
            password: self.smtp_password.as_ref().map(|it| SecretString::from(it.expose())),
            plain: self.smtp_plain,
        });
        engine::Settings {
            element_timeout: Duration::from_secs(self.element_timeout_seconds),
            navigation_timeout: Duration::from_secs(self.navigation_timeout_seconds),
            strict_templates: self.strict_templates,
            guard: guard::Settings {
                allow_private: self.allow_private_targets,
                allowed_hosts: Vec::new(),
                allow: self.allowed_rules(),
                deny: self.egress_deny.clone(),
            },
            smtp,
            ..engine::Settings::default()
        }
    }
}
