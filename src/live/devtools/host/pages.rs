//! The addresses that a driver may open.

/// The maximum depth of addresses within addresses (`view-source:blob:https:…`).
const DEEPEST: usize = 3;

/// The schemes whose pages come from the network or from the page itself.
const SCHEMES: [&str; 4] = ["http", "https", "data", "javascript"];

/// Returns true if a driver may open the address. An address without a scheme is left to Chromium,
/// which refuses it.
pub(super) fn is_open(url: &str) -> bool {
    // As in the URL standard, outer spaces and inner tabs and line breaks do not count.
    let text: String = url
        .trim_matches(|c: char| c <= ' ')
        .chars()
        .filter(|c| !matches!(c, '\t' | '\n' | '\r'))
        .collect();
    is_open_within(&text, 0)
}

fn is_open_within(text: &str, depth: usize) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return true };
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "blob" | "view-source" => depth < DEEPEST && is_open_within(rest, depth + 1),
        "about" => {
            let name = rest.split(['?', '#']).next().unwrap_or_default();
            matches!(name.to_ascii_lowercase().as_str(), "blank" | "srcdoc") || is_listed(rest)
        }
        "chrome" => is_listed(rest),
        scheme => SCHEMES.contains(&scheme),
    }
}

/// Returns true if `rest`, an internal page's address without the scheme, is listed in `pages.txt`.
fn is_listed(rest: &str) -> bool {
    let rest = rest.trim_start_matches(['/', '\\']);
    let host = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let pages = include_str!("pages.txt").lines().filter(|line| !line.starts_with('#'));
    pages.into_iter().any(|page| page == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_network_and_blank_ones_are_open() {
        for url in [
            "",
            "http://127.0.0.1:8080/x",
            "HTTPS://example.com",
            "https://example.com/?u=file:///etc/passwd",
            "data:text/html,<p>file:",
            "javascript:void 0",
            "about:blank",
            "about:blank#x",
            "About:SrcDoc",
            "blob:https://example.com/1-2",
            "blob:null/1-2",
            "view-source:https://example.com",
            "chrome://crash",
            "chrome://crash/#x",
            "no address at all",
        ] {
            assert!(is_open(url), "{url}");
        }
    }

    #[test]
    fn files_settings_and_other_programs_are_not() {
        for url in [
            "file:///etc/passwd",
            "FILE:///etc/passwd",
            " \u{0}file:///etc/passwd",
            "fi\tle:///etc/passwd",
            "f\r\nile:/etc/passwd",
            "file:etc/passwd",
            "view-source:file:///etc/passwd",
            "View-Source:view-source:FILE:///etc/passwd",
            "blob:file:///1",
            "filesystem:https://example.com/temporary/x",
            "filesystem:file:///persistent/x",
            "chrome://settings",
            "chrome://SETTINGS/privacy",
            "chrome:settings",
            "chrome:\\\\inspect",
            "chrome://crash@settings",
            "chrome://cr%61sh",
            "chrome://newtab/",
            "chrome://new-tab-page",
            "chrome://sandbox",
            "chrome://credits",
            "chrome://terms",
            "about:credits",
            "chrome://version",
            "chrome://gpu",
            "chrome://quit",
            "chrome://restart",
            "chrome://inducebrowsercrashforrealz",
            "chrome://",
            "about:version",
            "about:",
            "chrome-untrusted://print",
            "chrome-extension://abc/x.html",
            "devtools://devtools/bundled/inspector.html",
            "mailto:ann@example.com",
            "vscode://file/etc/passwd",
            "ftp://example.com",
            "view-source:view-source:view-source:view-source:https://example.com",
        ] {
            assert!(!is_open(url), "{url}");
        }
    }
}
