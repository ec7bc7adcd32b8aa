//! The defaults for the execution of blocks.

use std::time::Duration;

use crate::workflow::guard;

/// Defaults for the execution of blocks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The time to wait for an element.
    pub element_timeout: Duration,
    /// The time limit for a page to load.
    pub navigation_timeout: Duration,
    /// The time in which an assertion must come to hold.
    pub assert_timeout: Duration,
    /// The time limit of a request.
    pub request_timeout: Duration,
    /// The time limit of a download.
    pub download_timeout: Duration,
    /// True if unknown names in a template are errors.
    pub strict_templates: bool,
    /// The maximum number of iterations of a loop.
    pub most_iterations: usize,
    /// The maximum number of blocks in one iteration.
    pub most_steps: usize,
    /// The maximum size of a response or a file, in bytes.
    pub most_bytes: usize,
    /// The maximum size of all outputs of the run, in bytes of JSON; a block whose output would
    /// exceed it fails.
    pub most_output_bytes: usize,
    /// The rules for the targets of requests.
    pub guard: guard::Settings,
    /// The mail server, if one is configured.
    pub smtp: Option<Smtp>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            element_timeout: Duration::from_secs(30),
            navigation_timeout: Duration::from_secs(60),
            assert_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            download_timeout: Duration::from_secs(120),
            strict_templates: false,
            most_iterations: 1000,
            most_steps: 50,
            most_bytes: 32 << 20,
            most_output_bytes: 64 << 20,
            guard: guard::Settings::default(),
            smtp: None,
        }
    }
}

/// A mail server, with the credentials for it.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// The host name of the server.
    pub host: String,
    /// The port; 465 uses TLS from the start, any other STARTTLS.
    pub port: u16,
    /// The user name for authentication.
    pub username: Option<String>,
    /// The password for authentication.
    pub password: Option<secrecy::SecretString>,
    /// True to connect without TLS; for a server on this machine.
    pub plain: bool,
}
