//! `greenroom egress`: the egress program of one session, which the server starts.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::domain::sealing::Vault;
use crate::egress::files::SECRET;
use crate::egress::launch::{self, Level, Settings};
use crate::system::confine::{self, spec::Kind};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LevelArgument {
    /// A network namespace: nothing leaves but through the proxy.
    Enforced,
    /// A proxy on the machine's loopback, for one user.
    Proxied,
}

/// Holds a session's network and passes on what its policy allows. The server starts it.
#[derive(Debug, Parser)]
#[command(name = "greenroom egress")]
struct Arguments {
    /// The directory in which the server and this program meet.
    #[arg(long, required_unless_present = "trial")]
    directory: Option<PathBuf>,
    /// Only try whether a network namespace can be had.
    #[arg(long)]
    trial: bool,
    /// The separation of the session's network.
    #[arg(long, value_enum, default_value_t = LevelArgument::Enforced)]
    level: LevelArgument,
    /// The proxy's port; 3128 in a namespace, the former one or any without.
    #[arg(long)]
    proxy_port: Option<u16>,
    /// The port that leads to the server, in a namespace.
    #[arg(long, requires = "gateway_prefix")]
    gateway_port: Option<u16>,
    /// The start of the paths that lead to the server, with a final slash.
    #[arg(long)]
    gateway_prefix: Option<String>,
    /// A living process of the session whose namespaces are joined.
    #[arg(long)]
    join: Option<u32>,
    /// The user whose connections are accepted without a namespace.
    #[arg(long)]
    client_user: Option<u32>,
    /// The key of the policy file, which the server gives with the environment.
    #[arg(long, env = SECRET, hide = true, hide_env_values = true, value_parser = secret)]
    secret: Option<Vault>,
    /// Connections at once.
    #[arg(long, default_value_t = 1024)]
    connections: usize,
    /// The longest wait for a target or an upstream, in seconds.
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

/// Runs until a signal ends it. Must be called while the process has one thread.
pub fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let arguments = Arguments::parse_from(arguments);
    if arguments.trial {
        return match launch::try_namespace() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Whoever tries reads it; a closed pipe is no concern.
                let _ = writeln!(std::io::stderr(), "{error}");
                ExitCode::FAILURE
            }
        };
    }
    let settings = Settings::from(arguments);
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let confined = |directory: &std::path::Path| confine::enter(Kind::Egress, directory);
    match launch::run(&settings, confined) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
