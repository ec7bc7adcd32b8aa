//! The isolation of sessions: applies the settings, as far as the machine supports them, and logs
//! the result.

use anyhow::Context as _;
use tracing::{info, warn};

use crate::config::Settings;
use crate::domain::egress::NetworkLevel;
use crate::system::confine::landlock;
use crate::system::display;
use crate::system::egress::{self, Mode};

/// Applies the settings for confining programs, and logs the levels in force.
///
/// # Errors
///
/// Fails if a level is lower than `isolation.require` permits.
pub(super) async fn confine(settings: &mut Settings) -> anyhow::Result<()> {
    settings.desktop.confinement = settings.isolation.confinement();
    settings.desktop.network = settings.network();
    settings.sessions.browsers = settings.browsers();
    let is_on = settings.desktop.confinement.is_on();
    match if is_on { landlock::abi() } else { 0 } {
        0 if settings.isolation.require => anyhow::bail!(
            "`isolation.require` is on, and programs cannot be confined to the files of \
             their session: {}",
            if is_on { "the kernel has no Landlock" } else { "`isolation.files` is off" }
        ),
        0 if is_on => warn!("isolation: files none, because the kernel has no Landlock"),
        0 => warn!("isolation: files none, because `isolation.files` is off"),
        abi => info!("isolation: files landlock (ABI {abi})"),
    }
    let level = egress::level(&settings.desktop).await;
    match level {
        NetworkLevel::Enforced => info!("isolation: network enforced, by a namespace"),
        NetworkLevel::Proxied | NetworkLevel::None if settings.isolation.require => anyhow::bail!(
            "`isolation.require` is on, and sessions have no network of their own (level {}); \
             see `greenroom doctor` for the cause",
            level.as_str()
        ),
        NetworkLevel::Proxied => warn!("isolation: network proxied, see `greenroom doctor`"),
        NetworkLevel::None => {
            warn!("isolation: network none, because `isolation.network` is off");
        }
    }
    // The namespace was tried once; sessions do not try again.
    if level == NetworkLevel::Proxied {
        settings.desktop.network.mode = Mode::Proxy;
    }
    place(settings)
}

/// Creates the directory for all programs, and logs whether sessions have users of their own.
fn place(settings: &mut Settings) -> anyhow::Result<()> {
    let is_on = settings.desktop.confinement.is_on();
    settings.desktop.placement = settings.placement();
    let placement = &settings.desktop.placement;
    match &placement.no_users {
        None => info!("isolation: files uid, of {}", placement.range),
        Some(why) if is_on => warn!("isolation: sessions have no users of their own: {why}"),
        Some(_) => {}
    }
    if placement.assigns {
        display::make_sockets()
            .context("/tmp/.X11-unix is not open to every user: set its mode to 1777")?;
    }
    let programs = placement.programs(&settings.data);
    placement.make(&settings.data).map(drop).with_context(|| {
        format!(
            "cannot create the directory {} for programs (isolation.programs)",
            programs.display()
        )
    })
}
