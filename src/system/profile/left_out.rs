//! The files of a profile that no archive has.
//!
//! The rules name places, not only names: an extension or a site may have a folder `Cache` of its
//! own. What no rule names is kept, so that a new kind of site data of a newer Chromium is not lost.
//! Not left out, though some are named like caches: `Service Worker/CacheStorage` (data of sites),
//! `Service Worker/ScriptCache` (the registered workers), and the journals of databases (a browser
//! that was killed needs them to restore consistency).

/// Caches that Chromium fills anew: of responses, compiled code, shaders, dictionaries for
/// compression, and packages of extensions and components. They are most of a profile's size. In the
/// user data directory and in each profile of it.
const CACHES: [&str; 15] = [
    "Cache",
    "Code Cache",
    "DawnCache",
    "DawnGraphiteCache",
    "DawnWebGPUCache",
    "GPUCache",
    "GPUPersistentCache",
    "GrShaderCache",
    "GraphiteDawnCache",
    "Media Cache",
    "ShaderCache",
    "Shared Dictionary",
    "Webstore Downloads",
    "component_crx_cache",
    "extensions_crx_cache",
];

/// Files of the running browser and of its pages, without meaning to the next one: blobs in use,
/// the lock of Windows, the address of DevTools.
const RUNNING: [&str; 4] =
    ["DevToolsActivePort", "RunningChromeVersion", "blob_storage", "lockfile"];

/// The name prefix of the links that lock a user data directory. With a lock from another host,
/// Chromium does not start.
const SINGLETON: &str = "Singleton";

/// The open tabs of one session. They are no part of a profile: a session that starts from it would
/// open the pages of another session. The session storage belongs to tabs, and Chromium deletes it at
/// the next start if it does not restore them.
const TABS: [&str; 7] = [
    "Current Session",
    "Current Tabs",
    "Last Session",
    "Last Tabs",
    "Session Storage",
    "Sessions",
    "Sessions_Encrypted",
];

/// Reports and statistics for the makers of the browser, crashes among them, and the counter of
/// crashes in a row, by which Chromium would start in a safe mode.
const REPORTS: [&str; 5] =
    ["Crash Reports", "Crashpad", "DeferredBrowserMetrics", "Variations", "segmentation_platform"];

/// Data of components, which Chromium downloads and updates by itself, and old copies of profiles,
/// which it makes before an update. `WidevineCdm` contains native code.
const COMPONENTS: [&str; 33] = [
    "ActorSafetyLists",
    "AmountExtractionHeuristicRegexes",
    "AutofillStates",
    "CaptchaProviders",
    "CertificateRevocation",
    "CookieReadinessList",
    "Crowd Deny",
    "FileTypePolicies",
    "FirstPartySetsPreloaded",
    "Floc",
    "HistorySearch",
    "MEIPreload",
    "MaskedDomainListPreloaded",
    "OnDeviceHeadSuggestModel",
    "OpenCookieDatabase",
    "OriginTrials",
    "PKIMetadata",
    "PlusAddressBlocklist",
    "PrivacySandboxAttestationsPreloaded",
    "ProbabilisticRevealTokenRegistry",
    "RecoveryImproved",
    "SSLErrorAssistant",
    "SafetyTips",
    "Snapshots",
    "Subresource Filter",
    "TpcdMetadata",
    "TrustTokenKeyCommitments",
    "WasmTtsEngine",
    "WidevineCdm",
    "ZxcvbnData",
    "hyphen-data",
    "pnacl",
    "screen_ai",
];

/// Components whose names vary: models of the optimization guide, lists of Safe Browsing, reports.
const PREFIXES: [&str; 6] = [
    "BrowserMetrics",
    "CrashpadMetrics",
    "OptGuide",
    "OptimizationGuide",
    "Safe Browsing",
    "optimization_guide",
];

/// Manifests by which Chromium starts native programs and installs extensions. Chromium only reads
/// them, so only an attacker can have put them into a profile.
const LAUNCHERS: [&str; 2] = ["External Extensions", "NativeMessagingHosts"];

/// The name prefix of Chromium's temporary files: a file is written under it and then renamed.
const TEMPORARY: &str = ".org.chromium.";

/// The name suffixes of temporary files, and of profiles that are being deleted.
const ENDINGS: [&str; 3] = [".tmp", ".TMP", ".CHROME_DELETE"];

/// The name suffix of logs, such as `chrome_debug.log`. In other places, it is that of databases.
const LOG: &[u8] = b".log";

/// True for a file or folder that no archive has. Its path is relative to the user data directory.
/// What is in a folder that is left out is left out as well.
pub(super) fn is_left_out(path: &[u8]) -> bool {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    (1..=names.len()).any(|length| names.get(..length).is_some_and(is_named))
}

/// True for a link that locks a user data directory, and for all that is named like one.
pub(super) fn is_lock(path: &[u8]) -> bool {
    path.starts_with(SINGLETON.as_bytes())
}

/// True if a rule names this path itself.
fn is_named(names: &[&[u8]]) -> bool {
    match names {
        [name] => {
            is_one_of(name, &COMPONENTS)
                || is_one_of(name, &REPORTS)
                || is_one_of(name, &LAUNCHERS)
                || is_lock(name)
                || name.ends_with(LOG)
                || is_volatile(name)
        }
        [folder, name] if is_profile(folder) => is_one_of(name, &TABS) || is_volatile(name),
        // A storage partition of an extension, built like a profile.
        [folder, b"Storage", b"ext", _, _, name] if is_profile(folder) => is_volatile(name),
        [.., name] => name.starts_with(TEMPORARY.as_bytes()),
        [] => false,
    }
}

/// True for what both the user data directory and its profiles have.
fn is_volatile(name: &[u8]) -> bool {
    is_one_of(name, &CACHES)
        || is_one_of(name, &RUNNING)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
        || name.starts_with(TEMPORARY.as_bytes())
        || ENDINGS.iter().any(|ending| name.ends_with(ending.as_bytes()))
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|one| one.as_bytes() == name)
}

/// True for the folder of a profile in a user data directory.
fn is_profile(folder: &[u8]) -> bool {
    matches!(folder, b"Default" | b"Guest Profile" | b"System Profile")
        || folder.starts_with(b"Profile ")
}
