//! The command line flags and the executables that a client may choose for its browser.

/// The name of the browser that the server finds by itself.
pub const DEFAULT_EXECUTABLE: &str = "chromium";

/// The most flags of a session.
const MOST_FLAGS: usize = 32;

/// The longest flag, in bytes.
const LONGEST_FLAG: usize = 1024;

/// Parts of names of flags that would undo the isolation of a session, or take the browser away
/// from the server. No setting allows them.
const FORBIDDEN: [&str; 46] = [
    // Other programs, or the browser's own with other rights.
    "sandbox",
    "cmd-prefix",
    "launcher",
    "subprocess-path",
    "single-process",
    "zygote",
    "in-process",
    // Other ways to the browser than by the server.
    "remote-debugging",
    "remote-allow",
    "devtools",
    "debug",
    "automation",
    "headless",
    "ozone",
    "display",
    "app-id",
    "kiosk",
    // Files outside of its session, and its profile.
    "user-data",
    "profile",
    "file-access",
    "log-file",
    "net-log",
    "cache-dir",
    "dumps-dir",
    "homedir",
    "path",
    "keychain",
    "password-store",
    // Other ways to the network than by the egress program.
    "proxy",
    "host-resolver",
    "host-rules",
    "resolver",
    "dns",
    "quic",
    "webrtc",
    "origin-trial",
    // Code with more rights than a page.
    "extension",
    "load-",
    "component",
    "plugin",
    "mojo",
    "js-flags",
    "features",
    "web-security",
    "site-isolation",
    "isolat",
];

/// The flags and executables that the operator lets clients choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrowserChoices {
    /// The names of the configured executables.
    pub executables: Vec<String>,
    /// The names of the allowed flags, such as `--mute-audio`.
    pub flags: Vec<String>,
    /// The names of the operator's extensions.
    pub extensions: Vec<String>,
    /// The permissions that uploaded extensions may have although they are forbidden.
    pub permissions: Vec<String>,
    /// The names of the allowed policies, such as `PrintingEnabled`.
    pub policies: Vec<String>,
}

impl BrowserChoices {
    /// Returns the executable for `name`: none for the one that the server finds by itself.
    ///
    /// # Errors
    ///
    /// Names the known executables, if `name` is none of them.
    pub fn executable(&self, name: &str) -> Result<Option<String>, String> {
        if self.executables.iter().any(|known| known == name) {
            return Ok(Some(name.to_owned()));
        }
        if name == DEFAULT_EXECUTABLE {
            return Ok(None);
        }
        let mut known = vec![DEFAULT_EXECUTABLE];
        known.extend(self.executables.iter().map(String::as_str));
        known.dedup();
        Err(format!(
            "expected one of {}; an operator adds others in desktop.executables",
            known.join(", ")
        ))
    }

    /// Checks the flags of a session. Returns the index of the first wrong one with the reason.
    ///
    /// # Errors
    ///
    /// Names the flag and the reason.
    pub fn check_flags(&self, flags: &[String]) -> Result<(), (usize, String)> {
        if flags.len() > MOST_FLAGS {
            return Err((MOST_FLAGS, format!("expected at most {MOST_FLAGS} flags")));
        }
        for (index, flag) in flags.iter().enumerate() {
            self.check_flag(flag).map_err(|reason| (index, reason))?;
        }
        Ok(())
    }

    fn check_flag(&self, flag: &str) -> Result<(), String> {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let is_plain = value.chars().all(|char| !char.is_control());
        if flag.len() > LONGEST_FLAG || !is_plain {
            return Err(format!(
                "expected at most {LONGEST_FLAG} bytes without control characters"
            ));
        }
        check_name(name)?;
        if self.flags.iter().any(|allowed| allowed == name) {
            return Ok(());
        }
        Err(match self.flags.as_slice() {
            [] => format!("{name} is not allowed: isolation.flags_allow is empty"),
            allowed => {
                format!("{name} is not allowed; isolation.flags_allow has {}", allowed.join(", "))
            }
        })
    }
}

/// Checks that `name` is the name of a flag that may be allowed, such as `--mute-audio`.
///
/// # Errors
///
/// Returns the reason.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = name.strip_prefix("--").filter(|plain| {
        let is_named = plain.starts_with(|first: char| first.is_ascii_lowercase());
        is_named
            && plain.bytes().all(|it| it == b'-' || it.is_ascii_lowercase() || it.is_ascii_digit())
    });
    let Some(plain) = plain else {
        return Err("expected a flag such as `--mute-audio` or `--name=value`".to_owned());
    };
    match FORBIDDEN.iter().find(|part| plain.contains(**part)) {
        Some(part) => Err(format!("{name} could undo the isolation of a session (`{part}`)")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_flags_pass_and_those_that_undo_isolation_never() {
        let choices = BrowserChoices {
            executables: vec!["chrome".to_owned()],
            flags: ["--mute-audio", "--font-render-hinting", "--no-sandbox"]
                .map(str::to_owned)
                .to_vec(),
            ..BrowserChoices::default()
        };
        let check = |flag: &str| choices.check_flags(&["--mute-audio".to_owned(), flag.to_owned()]);
        assert_eq!(check("--font-render-hinting=none"), Ok(()));
        for (flag, reason) in [
            ("--start-maximized", "isolation.flags_allow has --mute-audio"),
            ("--no-sandbox", "undo the isolation"),
            ("mute-audio", "expected a flag"),
            ("-mute-audio", "expected a flag"),
            ("--Mute-Audio", "expected a flag"),
            ("http://a.example/", "expected a flag"),
            ("--", "expected a flag"),
            ("", "expected a flag"),
            ("--mute-audio=a\nb", "control characters"),
        ] {
            let (index, found) = check(flag).unwrap_err();
            assert!(index == 1 && found.contains(reason), "{flag}: {found}");
        }
        assert!(choices.check_flags(&vec!["--mute-audio".to_owned(); 33]).is_err());
        for name in [
            "--remote-debugging-port",
            "--remote-debugging-pipe",
            "--remote-allow-origins",
            "--user-data-dir",
            "--disable-setuid-sandbox",
            "--load-extension",
            "--disable-extensions-except",
            "--proxy-server",
            "--proxy-pac-url",
            "--no-proxy-server",
            "--host-resolver-rules",
            "--disable-web-security",
            "--allow-file-access-from-files",
            "--renderer-cmd-prefix",
            "--gpu-launcher",
            "--enable-features",
            "--disable-features",
            "--enable-blink-features",
            "--js-flags",
            "--disable-site-isolation-trials",
            "--enable-quic",
            "--force-webrtc-ip-handling-policy",
            "--browser-subprocess-path",
            "--log-net-log",
            "--disk-cache-dir",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_unknown_executable_is_refused_with_the_known_ones() {
        let executables = vec!["chrome".to_owned()];
        let choices = BrowserChoices { executables, ..BrowserChoices::default() };
        assert_eq!(choices.executable("chrome"), Ok(Some("chrome".to_owned())));
        assert_eq!(choices.executable("chromium"), Ok(None));
        let refused = choices.executable("/bin/sh").unwrap_err();
        assert!(refused.starts_with("expected one of chromium, chrome;"), "{refused}");
    }
}
