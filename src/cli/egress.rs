//! The command `greenroom egress`: the egress program of one session, started by the server.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::domain::sealing::Vault;
use crate::egress::files::SECRET;
use crate::egress::launch::{self, Level, Settings};
use crate::system::confine::{self, spec::ProgramKind};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LevelArgument {
    /// A network namespace: the proxy is the only way out.
    Enforced,
    /// A proxy on the machine's loopback interface, for one user.
    Proxied,
}

/// Provides a session's network and forwards the connections that its policy allows. Started by the
/// server.
#[derive(Debug, Parser)]
#[command(name = "greenroom egress")]
struct Arguments {
    /// The directory through which the server and this program communicate.
    #[arg(long, required_unless_present = "trial")]
    directory: Option<PathBuf>,
    /// Only test whether a network namespace can be created.
    #[arg(long)]
    trial: bool,
    /// The separation of the session's network.
    #[arg(long, value_enum, default_value_t = LevelArgument::Enforced)]
    level: LevelArgument,
    /// The proxy's port; by default 3128 in a namespace, and otherwise the previous port or any
    /// free one.
    #[arg(long)]
    proxy_port: Option<u16>,
    /// In a namespace, the port that leads to the server.
    #[arg(long, requires = "gateway_prefix")]
    gateway_port: Option<u16>,
    /// The prefix, with a final slash, of the paths that lead to the server.
    #[arg(long)]
    gateway_prefix: Option<String>,
    /// The id of a live process of the session, whose namespaces the program joins.
    #[arg(long)]
    join: Option<u32>,
    /// Without a namespace, the user whose connections are accepted.
    #[arg(long)]
    client_user: Option<u32>,
    /// The key of the policy file, which the server passes in the environment.
    #[arg(long, env = SECRET, hide = true, hide_env_values = true, value_parser = secret)]
    secret: Option<Vault>,
    /// The most connections that may be open at once.
    #[arg(long, default_value_t = 1024)]
    connections: usize,
    /// The longest time, in seconds, to connect to a target or an upstream proxy.
    #[arg(long, default_value_t = 30)]
    connect_seconds: u64,
}

fn secret(digits: &str) -> Result<Vault, &'static str> {
    let secret =
        blake3::Hash::from_hex(digits).map_err(|_text| "expected 64 hexadecimal digits")?;
    Ok(Vault::new(*secret.as_bytes()))
}

impl From<Arguments> for Settings {
    fn from(arguments: Arguments) -> Self {
        let (level, port) = match arguments.level {
            LevelArgument::Enforced => (Level::Enforced, launch::PROXY_PORT),
            LevelArgument::Proxied => (Level::Proxied, 0),
        };
        Self {
            directory: arguments.directory.unwrap_or_default(),
            level,
            proxy_port: arguments.proxy_port.unwrap_or(port),
            gateway: arguments.gateway_port.zip(arguments.gateway_prefix),
            join: arguments.join,
            client_user: arguments.client_user,
            vault: arguments.secret,
            connections: arguments.connections,
            connect: Duration::from_secs(arguments.connect_seconds),
        }
    }
}

/// Runs until a signal ends it. Must be called while the process has a single thread.
pub fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let arguments = Arguments::parse_from(arguments);
    if arguments.trial {
        return match launch::try_namespace() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // The output is for a person who tries the program; a closed pipe does not matter.
                let _ = writeln!(std::io::stderr(), "{error}");
                ExitCode::FAILURE
            }
        };
    }
    let settings = Settings::from(arguments);
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let confined = |directory: &std::path::Path| confine::enter(ProgramKind::Egress, directory);
    match launch::run(&settings, confined) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
