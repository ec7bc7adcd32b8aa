//! The command line arguments of Chromium.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{First, Start};
use crate::domain::browser_settings::{BrowserSettings, ColorScheme};
use crate::system::settings::Settings;

/// The least free shared memory in bytes. With less, Chromium uses files, because it crashes when
/// `/dev/shm` is full.
const ENOUGH_SHARED_MEMORY: u64 = 1024 * 1024 * 1024;

/// The URL of a loopback port without a listener, for requests that must not succeed.
const UNREACHABLE: &str = "http://127.0.0.1:9/";

/// The arguments that are the same for every session.
const FIXED: &[&str] = &[
    "--remote-debugging-port=0",
    "--ozone-platform=x11",
    "--force-device-scale-factor=1",
    "--disable-gpu",
    // No prompts and no tours.
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-search-engine-choice-screen",
    "--hide-crash-restore-bubble",
    // Chromium survives the close of its last window; the keeper opens the next one.
    "--keep-alive-for-test",
    // A page that prints itself writes a PDF to the downloads, see `profile`. The print preview
    // would wait for a person, and block the page.
    "--kiosk-printing",
    "--noerrdialogs",
    // No warning bar about flags such as `--gaia-url` and `--no-sandbox`, which would cover the page.
    "--test-type",
    // No keyring, because there is no desktop environment to unlock it.
    "--password-store=basic",
    // No network requests except those of pages. Of two requests for a page at the same URL, the later one counts: a
    // driver may ask for the page that is being restored, and would be refused (`IgnoreDuplicateNavs`).
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-pings",
    "--disable-features=NetworkTimeServiceQuerying,OptimizationHints,MediaRouter,\
     DialMediaRouteProvider,Translate,AutofillServerCommunication,InterestFeedContentSuggestions,\
     CertificateTransparencyComponentUpdater,IgnoreDuplicateNavs",
    // Background pages are not throttled.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
];

pub(super) fn all(start: &Start<'_>, settings: &Settings) -> Vec<OsString> {
    let mut profile = OsString::from("--user-data-dir=");
    profile.push(start.profile);

    // First, because the last of several values of a flag counts.
    let mut flags: Vec<OsString> = start.spec.settings.flags.iter().map(Into::into).collect();
    flags.extend(FIXED.iter().map(OsString::from));
    flags.push(profile);
    flags.extend([
        format!("--component-updater=url-source={UNREACHABLE}").into(),
        format!("--gaia-url={UNREACHABLE}").into(),
    ]);
    if start.no_sandbox {
        flags.push("--no-sandbox".into());
    }
    if settings.webgl {
        // Without a GPU, Chromium has no WebGL unless its software renderer is enabled explicitly.
        flags.push("--enable-unsafe-swiftshader".into());
    }
    // A browser in its own network namespace has its own shared memory as well.
    let is_separate = start.network.is_some_and(|network| network.namespace.is_some());
    if !is_separate && !has_enough_shared_memory() {
        flags.push("--disable-dev-shm-usage".into());
    }
    if let Some(network) = &start.network {
        flags.extend([
            format!("--proxy-server=http://{}", network.egress.proxy).into(),
            // Loopback also goes through the proxy, so that the policy refuses it explicitly.
            "--proxy-bypass-list=<-loopback>".into(),
            // UDP would bypass the proxy.
            "--disable-quic".into(),
            "--force-webrtc-ip-handling-policy=disable_non_proxied_udp".into(),
        ]);
    } else if let Some(proxy) = &start.spec.proxy {
        // Chromium accepts no path here, and the proxy's URL has none.
        let proxy = proxy.as_str().trim_end_matches('/');
        flags.push(format!("--proxy-server={proxy}").into());
    }
    flags.extend(of_settings(&start.spec.settings));
    extend(&mut flags, start.extensions);
    flags.extend(settings.chromium_arguments.iter().map(Into::into));
    flags.push(match start.first {
        First::Page => {
            start.spec.start_url.as_ref().map_or("about:blank", |url| url.as_str()).into()
        }
        First::Nothing => "about:blank".into(),
        First::Last => "--restore-last-session".into(),
    });
    flags
}

/// The arguments for the settings of a session. They reach all targets, also those that DevTools
/// overrides do not, and last when the server is away.
fn of_settings(settings: &BrowserSettings) -> Vec<OsString> {
    let mut flags = Vec::new();
    let mut add = |name: &str, value: &str| flags.push(format!("--{name}={value}").into());
    if let (Some(locale), Some(languages)) = (&settings.locale, settings.languages()) {
        add("lang", locale);
        add("accept-lang", &languages);
    }
    if let Some(user_agent) = &settings.user_agent {
        add("user-agent", user_agent);
    }
    // A phone has the factor of its screen, and the browser around it stays as it is.
    if let (Some(factor), None) = (settings.device_scale_factor, settings.mobile) {
        add("force-device-scale-factor", &factor.to_string());
    }
    match settings.color_scheme {
        Some(ColorScheme::Dark) => flags.push("--force-dark-mode".into()),
        // The profile may have another one.
        Some(ColorScheme::Light) => flags.push("--blink-settings=preferredColorScheme=1".into()),
        Some(ColorScheme::NoPreference) | None => {}
    }
    flags
}

/// Adds the arguments that load extensions. Chrome loads those of its command line only without one
/// of its features.
fn extend(flags: &mut Vec<OsString>, extensions: &[PathBuf]) {
    if extensions.is_empty() {
        return;
    }
    let folders = extensions.iter().map(|folder| folder.display().to_string());
    let folders = folders.collect::<Vec<_>>().join(",");
    for flag in flags.iter_mut() {
        if flag.to_str().is_some_and(|flag| flag.starts_with("--disable-features=")) {
            flag.push(",DisableLoadExtensionCommandLineSwitch");
        }
    }
    flags.push(format!("--load-extension={folders}").into());
    flags.push(format!("--disable-extensions-except={folders}").into());
}

/// The variables for the settings of a session.
pub(super) fn environment(settings: &BrowserSettings) -> Vec<(OsString, OsString)> {
    let locale = settings.locale.as_ref().map(|locale| ("LANGUAGE", locale.replace('-', "_")));
    let timezone = settings.timezone.as_ref().map(|timezone| ("TZ", timezone.clone()));
    let set = locale.into_iter().chain(timezone);
    set.map(|(name, value)| (name.into(), value.into())).collect()
}

/// True if `/dev/shm` has room for a browser.
fn has_enough_shared_memory() -> bool {
    free_shared_memory().is_some_and(|bytes| bytes >= ENOUGH_SHARED_MEMORY)
}

/// The free bytes in `/dev/shm`; none if it does not exist.
pub(crate) fn free_shared_memory() -> Option<u64> {
    let statistics = rustix::fs::statvfs("/dev/shm").ok()?;
    Some(statistics.f_bavail.saturating_mul(statistics.f_frsize))
}
