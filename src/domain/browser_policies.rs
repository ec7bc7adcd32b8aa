//! Policies of Chromium that a client may give to the browser of its session.

use serde_json::{Map, Value};

/// The policies of a browser, by name.
pub type Policies = Map<String, Value>;

/// The most policies of a session.
const MOST: usize = 100;

/// The longest policies of a session, in bytes of JSON.
const LONGEST: usize = 64 * 1024;

/// The longest name of a policy, in bytes.
const LONGEST_NAME: usize = 100;

/// The policies that change what pages may do and what a person sees, and nothing of the machine.
pub const HARMLESS: [&str; 58] = [
    "AllowDeletingBrowserHistory",
    "AllowFileSelectionDialogs",
    "AudioCaptureAllowed",
    "AudioCaptureAllowedUrls",
    "AutofillAddressEnabled",
    "AutofillCreditCardEnabled",
    "AutoplayAllowed",
    "AutoplayAllowlist",
    "BlockThirdPartyCookies",
    "BookmarkBarEnabled",
    "ClipboardAllowedForUrls",
    "ClipboardBlockedForUrls",
    "CookiesAllowedForUrls",
    "CookiesBlockedForUrls",
    "CookiesSessionOnlyForUrls",
    "DefaultClipboardSetting",
    "DefaultCookiesSetting",
    "DefaultGeolocationSetting",
    "DefaultImagesSetting",
    "DefaultInsecureContentSetting",
    "DefaultJavaScriptJitSetting",
    "DefaultJavaScriptSetting",
    "DefaultNotificationsSetting",
    "DefaultPopupsSetting",
    "DefaultSearchProviderEnabled",
    "DefaultSearchProviderKeyword",
    "DefaultSearchProviderName",
    "DefaultSearchProviderSearchURL",
    "EditBookmarksEnabled",
    "HomepageIsNewTabPage",
    "HomepageLocation",
    "HttpAllowlist",
    "HttpsOnlyMode",
    "HttpsUpgradesEnabled",
    "ImagesAllowedForUrls",
    "ImagesBlockedForUrls",
    "InsecureContentAllowedForUrls",
    "InsecureContentBlockedForUrls",
    "JavaScriptAllowedForUrls",
    "JavaScriptBlockedForUrls",
    "ManagedBookmarks",
    "NewTabPageLocation",
    "NotificationsAllowedForUrls",
    "NotificationsBlockedForUrls",
    "OverrideSecurityRestrictionsOnInsecureOrigin",
    "PasswordManagerEnabled",
    "PopupsAllowedForUrls",
    "PopupsBlockedForUrls",
    "PrintingEnabled",
    "SavingBrowserHistoryDisabled",
    "SearchSuggestEnabled",
    "ShowHomeButton",
    "SpellcheckEnabled",
    "SSLErrorOverrideAllowed",
    "TranslateEnabled",
    "URLBlocklist",
    "VideoCaptureAllowed",
    "VideoCaptureAllowedUrls",
];

/// Parts of names of policies, in lower case, that would undo the isolation of a session, or take
/// the browser away from the server. No setting allows them.
const FORBIDDEN: [&str; 51] = [
    // Other ways to the browser than by the server.
    "remotedebugging",
    "remoteaccess",
    "developertools",
    "debug",
    "commandline",
    "headless",
    "kiosk",
    "backgroundmode",
    "restoreonstartup",
    "browserswitcher",
    "browseradd",
    "browserguest",
    "incognito",
    "profile",
    // Other programs, devices and files.
    "nativemessaging",
    "extension",
    "launch",
    "protocol",
    "sandbox",
    "isolat",
    "siteperprocess",
    "rendererapp",
    "download",
    "userdata",
    "diskcache",
    "cachesize",
    "logging",
    "filesystem",
    "printer",
    "printtopdf",
    "usb",
    "serial",
    "hid",
    "bluetooth",
    "screencapture",
    // Other ways to the network than by the egress program.
    "proxy",
    "dns",
    "quic",
    "webrtc",
    "localnetwork",
    // Accounts, and requests of the browser itself.
    "signin",
    "sync",
    "cloud",
    "enroll",
    "enterprise",
    "safebrowsing",
    "update",
    // Keys and certificates, which have fields of their own.
    "certificate",
    "cacert",
    "gssapi",
    "auth",
];

/// Checks that `name` is the name of a policy that may be allowed, such as `PrintingEnabled`.
///
/// # Errors
///
/// Returns the reason, which names the policy.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_name = name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.len() <= LONGEST_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_name {
        return Err("expected the name of a policy, such as `PrintingEnabled`".to_owned());
    }
    let lower = name.to_ascii_lowercase();
    match FORBIDDEN.iter().find(|part| lower.contains(**part)) {
        Some(part) => Err(format!("{name} could undo the isolation of a session (`{part}`)")),
        None => Ok(()),
    }
}

/// Returns the wrong ones among the policies of a session: the path below the object, and the
/// reason. `allowed` has the names that the operator allows.
pub fn problems(policies: &Policies, allowed: &[String]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let length = Value::Object(policies.clone()).to_string().len();
    if policies.len() > MOST || length > LONGEST {
        let reason = format!("expected at most {MOST} policies, and {LONGEST} bytes of JSON");
        return vec![(String::new(), reason)];
    }
    for (name, value) in policies {
        let checked = check_name(name).and_then(|()| {
            if !allowed.iter().any(|known| known == name) {
                return Err(format!("{name} is not among isolation.policies_allow"));
            }
            match leads_elsewhere(name, value) {
                true => Err(format!("{name} takes addresses with `https://` or `http://` only")),
                false => Ok(()),
            }
        });
        if let Err(reason) = checked {
            found.push((format!(".{name}"), reason));
        }
    }
    found
}

/// True for a value that leads to addresses which are not those of sites, such as internal pages.
fn leads_elsewhere(name: &str, value: &Value) -> bool {
    let is_site = |text: &str| {
        let text = text.trim().to_ascii_lowercase();
        text.starts_with("https://") || text.starts_with("http://")
    };
    match name {
        "HomepageLocation" | "NewTabPageLocation" | "DefaultSearchProviderSearchURL" => {
            !value.as_str().is_some_and(is_site)
        }
        // A host without a scheme stands for every scheme.
        "URLAllowlist" => !value
            .as_array()
            .is_some_and(|entries| entries.iter().all(|it| it.as_str().is_some_and(is_site))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn harmless() -> Vec<String> {
        HARMLESS.map(str::to_owned).to_vec()
    }

    fn refused(policies: Value, allowed: &[String]) -> Vec<(String, String)> {
        problems(policies.as_object().unwrap(), allowed)
    }

    #[test]
    fn harmless_policies_pass_and_are_sorted_once_each() {
        for name in HARMLESS {
            assert_eq!(check_name(name), Ok(()));
        }
        let lower: Vec<String> = HARMLESS.iter().map(|name| name.to_lowercase()).collect();
        assert!(lower.is_sorted_by(|one, next| one < next));
        let policies = json!({ "DefaultImagesSetting": 2, "ManagedBookmarks": [{ "name": "a" }] });
        assert_eq!(refused(policies, &harmless()), []);
    }

    #[test]
    fn policies_that_undo_isolation_are_refused_by_name_also_if_the_operator_lists_them() {
        for name in [
            "RemoteDebuggingAllowed",
            "RemoteAccessHostFirewallTraversal",
            "DeveloperToolsAvailability",
            "ProxySettings",
            "ProxyMode",
            "ProxyServer",
            "ProxyPacUrl",
            "ExtensionInstallForcelist",
            "ExtensionSettings",
            "NativeMessagingAllowlist",
            "NativeMessagingUserLevelHosts",
            "DownloadDirectory",
            "DefaultDownloadDirectory",
            "UserDataDir",
            "DiskCacheDir",
            "DiskCacheSize",
            "CommandLineFlagSecurityWarningsEnabled",
            "SafeBrowsingProtectionLevel",
            "HeadlessMode",
            "BrowserSignin",
            "SyncDisabled",
            "SitePerProcess",
            "IsolateOrigins",
            "AudioSandboxEnabled",
            "NetworkServiceSandboxEnabled",
            "DnsOverHttpsMode",
            "BuiltInDnsClientEnabled",
            "QuicAllowed",
            "WebRtcIPHandling",
            "WebRtcUdpPortRange",
            "RestoreOnStartup",
            "BackgroundModeEnabled",
            "AutoLaunchProtocolsFromOrigins",
            "BrowserSwitcherChromePath",
            "AuthServerAllowlist",
            "GSSAPILibraryName",
            "CACertificates",
            "AutoSelectCertificateForUrls",
            "CloudReportingEnabled",
            "WebUsbAllowDevicesForUrls",
            "DefaultSerialGuardSetting",
            "WebHidAllowAllDevicesForUrls",
        ] {
            let found = refused(json!({ name: true }), &[name.to_owned()]);
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!(found[0].0, format!(".{name}"));
            assert!(found[0].1.starts_with(&format!("{name} could undo")), "{found:?}");
        }
    }

    #[test]
    fn unknown_policies_and_odd_names_are_refused() {
        let found = refused(json!({ "MemorySaverModeSavings": 1 }), &harmless());
        assert!(found[0].1.contains("not among isolation.policies_allow"), "{found:?}");
        for name in ["", "printingEnabled", "Printing-Enabled", "../etc", "A".repeat(101).as_str()]
        {
            assert_eq!(refused(json!({ name: 1 }), &[name.to_owned()]).len(), 1, "{name}");
        }
        let many: Policies = (0..101).map(|number| (format!("P{number}"), json!(1))).collect();
        assert_eq!(problems(&many, &[])[0].0, "");
        let long = json!({ "DefaultSearchProviderName": "x".repeat(64 * 1024) });
        assert_eq!(refused(long, &harmless())[0].0, "");
    }

    #[test]
    fn no_value_leads_to_files_or_internal_pages() {
        let list = ["URLAllowlist".to_owned()];
        let exempts = |value: Value| refused(json!({ "URLAllowlist": value }), &list).len();
        assert_eq!(exempts(json!(["https://a.example/x", "HTTP://b.example:8080"])), 0);
        for entry in ["file:///etc/*", "chrome://settings", "*", "*://a", "a.example", "data:x"] {
            assert_eq!(exempts(json!([entry])), 1, "{entry}");
        }
        assert_eq!(exempts(json!("https://a.example")), 1);
        assert_eq!(exempts(json!([1])), 1);
        for name in ["HomepageLocation", "NewTabPageLocation", "DefaultSearchProviderSearchURL"] {
            let set = |value: Value| refused(json!({ name: value }), &harmless()).len();
            assert_eq!(set(json!("https://a.example/{searchTerms}")), 0);
            for value in [json!("chrome://settings"), json!("file:///etc/passwd"), json!(1)] {
                assert_eq!(set(value), 1, "{name}");
            }
        }
    }
}
