//! The values that go with a user agent: the client hints of User-Agent Client Hints, and
//! `navigator.platform`.

use serde_json::{Value, json};

/// The brand that Chromium mixes in so that nothing depends on the list of brands.
const GREASE: &str = "Not:A-Brand";

/// Returns `navigator.platform` for a user agent, if its system is known.
pub(super) fn platform(user_agent: &str) -> Option<&'static str> {
    let has = |text: &str| user_agent.contains(text);
    Some(match () {
        () if has("Windows NT") => "Win32",
        () if has("Android") => "Linux armv81",
        () if has("iPhone") => "iPhone",
        () if has("iPad") => "iPad",
        () if has("Mac OS X") => "MacIntel",
        () if has("Linux") || has("CrOS") => "Linux x86_64",
        () => return None,
    })
}

/// Returns the client hints of a Chromium's user agent, as `Emulation.UserAgentMetadata`. Other
/// browsers have none, and then neither headers nor pages show any.
pub(super) fn metadata(user_agent: &str) -> Option<Value> {
    let chromium = version(user_agent, " Chrome/")?;
    // A browser with another engine, or with brands that are not known here.
    if ["OPR/", "Vivaldi/", "SamsungBrowser/", "YaBrowser/"]
        .iter()
        .any(|it| user_agent.contains(it))
    {
        return None;
    }
    let own = match version(user_agent, " Edg/") {
        Some(edge) => ("Microsoft Edge", edge),
        None => ("Google Chrome", chromium),
    };
    let brands = [(GREASE, "8.0.0.0"), ("Chromium", chromium), own];
    let major = |version: &str| version.split('.').next().unwrap_or_default().to_owned();
    let short = brands.iter().map(|(brand, it)| json!({ "brand": brand, "version": major(it) }));
    let full = brands.iter().map(|(brand, it)| json!({ "brand": brand, "version": it }));
    let (system, system_version) = system(user_agent)?;
    let is_arm = system == "Android";
    Some(json!({
        "brands": short.collect::<Vec<_>>(),
        "fullVersionList": full.collect::<Vec<_>>(),
        "fullVersion": own.1,
        "platform": system,
        "platformVersion": system_version,
        "architecture": if is_arm { "" } else { "x86" },
        "bitness": if is_arm { "" } else { "64" },
        "model": model(user_agent).unwrap_or_default(),
        "mobile": user_agent.contains(" Mobile "),
        "wow64": false,
    }))
}

/// The version that follows `name`.
fn version<'a>(user_agent: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = user_agent.split_once(name)?;
    let version = rest.split(' ').next()?;
    let is_version = version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (is_version && version.starts_with(|first: char| first.is_ascii_digit())).then_some(version)
}

/// The operating system and its version.
fn system(user_agent: &str) -> Option<(&'static str, String)> {
    let after = |name: &str| {
        let (_, rest) = user_agent.split_once(name)?;
        let end = rest.find([';', ')', ' ']).unwrap_or(rest.len());
        rest.get(..end).map(|version| version.replace('_', "."))
    };
    let padded = |version: String| match version.matches('.').count() {
        0 => format!("{version}.0.0"),
        1 => format!("{version}.0"),
        _ => version,
    };
    let has = |text: &str| user_agent.contains(text);
    match () {
        () if has("Windows NT") => Some(("Windows", padded(after("Windows NT ")?))),
        () if has("Android") => Some(("Android", padded(after("Android ")?))),
        () if has("CrOS") => Some(("Chrome OS", String::new())),
        () if has("Mac OS X") => Some(("macOS", padded(after("Mac OS X ")?))),
        () if has("Linux") => Some(("Linux", String::new())),
        () => None,
    }
}

/// The model of an Android device: `Pixel 7` in `(Linux; Android 13; Pixel 7)`.
fn model(user_agent: &str) -> Option<&str> {
    let (_, rest) = user_agent.split_once("Android ")?;
    let (inside, _) = rest.split_once(')')?;
    inside.split_once("; ").map(|(_version, model)| model)
}

/// The user agent of a phone with the browser's own version.
pub(super) fn of_phone(product: &str) -> String {
    let (_, version) = product.split_once('/').unwrap_or_default();
    let major = version.split('.').next().filter(|major| !major.is_empty()).unwrap_or("130");
    format!(
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/{major}.0.0.0 Mobile Safari/537.36"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_hints_are_those_of_the_user_agent_or_none() {
        let windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like \
                       Gecko) Chrome/140.0.7339.80 Safari/537.36";
        let hints = metadata(windows).unwrap();
        assert_eq!(
            (&hints["platform"], &hints["platformVersion"]),
            (&json!("Windows"), &json!("10.0.0"))
        );
        assert_eq!(hints["brands"][2], json!({ "brand": "Google Chrome", "version": "140" }));
        assert_eq!(hints["fullVersionList"][1]["version"], "140.0.7339.80");
        assert_eq!(hints["mobile"], false);
        assert_eq!(platform(windows), Some("Win32"));

        let edge = format!("{windows} Edg/140.0.3485.54");
        let hints = metadata(&edge).unwrap();
        assert_eq!(hints["brands"][2], json!({ "brand": "Microsoft Edge", "version": "140" }));

        let phone = of_phone("Chrome/156.0.8078.108");
        let hints = metadata(&phone).unwrap();
        assert_eq!((&hints["platform"], &hints["mobile"]), (&json!("Android"), &json!(true)));
        assert_eq!((&hints["model"], &hints["brands"][1]["version"]), (&json!("K"), &json!("156")));
        assert_eq!(platform(&phone), Some("Linux armv81"));

        let mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like \
                   Gecko) Chrome/139.0.0.0 Safari/537.36";
        assert_eq!(metadata(mac).unwrap()["platformVersion"], "10.15.7");
        for other in [
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Mine/1.0",
            "Mozilla/5.0 (X11; Linux x86_64) Chrome/ Safari/537.36",
            &format!("{windows} OPR/120.0.0.0"),
        ] {
            assert_eq!(metadata(other), None, "{other}");
        }
    }
}
