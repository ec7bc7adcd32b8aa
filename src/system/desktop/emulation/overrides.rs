//! The DevTools overrides that a browser needs, beyond what it was started with.

use serde_json::{Value, json};

use super::client_hints;
use crate::domain::browser_settings::BrowserSettings;

/// The kind of a DevTools target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetKind {
    /// A tab or popup.
    Page,
    /// A frame with a process of its own.
    Frame,
    /// A dedicated, shared or service worker.
    Worker,
}

impl TargetKind {
    pub(super) fn named(kind: &str) -> Option<Self> {
        match kind {
            "page" => Some(Self::Page),
            "iframe" => Some(Self::Frame),
            "worker" | "shared_worker" | "service_worker" => Some(Self::Worker),
            _ => None,
        }
    }
}

/// The parameters of each override; none where the browser needs no override.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Overrides {
    user_agent: Option<Value>,
    locale: Option<Value>,
    timezone: Option<Value>,
    media: Option<Value>,
    geolocation: Option<Value>,
    metrics: Option<Value>,
    touch: Option<Value>,
}

/// The command whose override a renderer has once, for all of its pages.
const SET_LOCALE: &str = "Emulation.setLocaleOverride";

/// A command, with its parameters.
pub(super) type Command = (&'static str, Value);

impl Overrides {
    /// The overrides for `wanted` in a browser that was started with `started`. `product` is its
    /// name and version, as `Browser.getVersion` returns it.
    pub(super) fn of(started: &BrowserSettings, wanted: &BrowserSettings, product: &str) -> Self {
        let factor = wanted.device_scale_factor.unwrap_or_default();
        Self {
            user_agent: user_agent(started, wanted, product),
            // `Intl` follows the language of the browser's own texts, which may not be installed.
            locale: wanted.locale.as_ref().map(|locale| json!({ "locale": locale })),
            timezone: (wanted.timezone != started.timezone)
                .then(|| wanted.timezone.as_ref().map(|zone| json!({ "timezoneId": zone })))
                .flatten(),
            media: (wanted.is_light() != started.is_light()).then(|| {
                let value = if wanted.is_light() { "light" } else { "dark" };
                json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] })
            }),
            geolocation: wanted.geolocation.map(|position| json!(position)),
            metrics: wanted.mobile.map(|mobile| {
                json!({
                    "width": mobile.width, "height": mobile.height,
                    "screenWidth": mobile.width, "screenHeight": mobile.height,
                    "deviceScaleFactor": factor, "mobile": true,
                })
            }),
            touch: wanted.mobile.map(|_mobile| json!({ "enabled": true, "maxTouchPoints": 5 })),
        }
    }

    /// True if the browser needs none.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True if pages get a position.
    pub(super) fn locates(&self) -> bool {
        self.geolocation.is_some()
    }

    /// The command that sets the locale; none if the browser needs no override of it.
    pub(super) fn locale_command(&self) -> Option<Command> {
        Some((SET_LOCALE, self.locale.clone()?))
    }

    /// The commands that set these overrides in a target, and remove those of `before` that are not
    /// among them.
    pub(super) fn commands(&self, before: Option<&Self>, kind: TargetKind) -> Vec<Command> {
        let mut commands = Vec::new();
        let is_page = kind == TargetKind::Page;
        let mut set =
            |applies, value: &Option<Value>, former: Option<&Option<Value>>, method, reset| {
                let was_set = former.is_some_and(Option::is_some);
                match value {
                    Some(value) if applies => commands.push((method, value.clone())),
                    None if applies && was_set => commands.push(reset),
                    Some(_) | None => {}
                }
            };
        let user_agent = "Emulation.setUserAgentOverride";
        let former = before.map(|before| &before.user_agent);
        let reset = (user_agent, json!({ "userAgent": "" }));
        set(true, &self.user_agent, former, user_agent, reset);
        let former = before.map(|before| &before.locale);
        set(true, &self.locale, former, SET_LOCALE, (SET_LOCALE, json!({})));
        let timezone = "Emulation.setTimezoneOverride";
        let former = before.map(|before| &before.timezone);
        let reset = (timezone, json!({ "timezoneId": "" }));
        set(true, &self.timezone, former, timezone, reset);
        let media = "Emulation.setEmulatedMedia";
        let former = before.map(|before| &before.media);
        let reset = (media, json!({ "features": [] }));
        set(kind != TargetKind::Worker, &self.media, former, media, reset);
        let geolocation = "Emulation.setGeolocationOverride";
        let former = before.map(|before| &before.geolocation);
        let reset = ("Emulation.clearGeolocationOverride", json!({}));
        set(is_page, &self.geolocation, former, geolocation, reset);
        let metrics = "Emulation.setDeviceMetricsOverride";
        let reset = ("Emulation.clearDeviceMetricsOverride", json!({}));
        set(is_page, &self.metrics, before.map(|before| &before.metrics), metrics, reset);
        let touch = "Emulation.setTouchEmulationEnabled";
        let reset = (touch, json!({ "enabled": false }));
        set(is_page, &self.touch, before.map(|before| &before.touch), touch, reset);
        commands
    }
}

fn user_agent(started: &BrowserSettings, wanted: &BrowserSettings, product: &str) -> Option<Value> {
    let phone = || wanted.mobile.map(|_mobile| client_hints::of_phone(product));
    let text = wanted.user_agent.clone().or_else(phone);
    let languages = (wanted.locale != started.locale).then(|| wanted.languages()).flatten();
    if text.is_none() && languages.is_none() {
        return None;
    }
    // An empty text keeps the browser's own user agent.
    let text = text.unwrap_or_default();
    let mut params = json!({ "userAgent": text });
    let members = params.as_object_mut()?;
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    add("acceptLanguage", languages.map(Value::from));
    add("platform", client_hints::platform(&text).map(Value::from));
    add("userAgentMetadata", client_hints::metadata(&text));
    Some(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::browser_settings::{ColorScheme, Geolocation, Mobile};

    fn methods(commands: &[Command]) -> Vec<&'static str> {
        commands.iter().map(|(method, _params)| *method).collect()
    }

    #[test]
    fn a_browser_gets_what_its_start_did_not_give() {
        let plain = BrowserSettings::default();
        assert!(Overrides::of(&plain, &plain, "Chrome/1").is_empty());
        let started = BrowserSettings {
            locale: Some("de-DE".into()),
            timezone: Some("Asia/Tokyo".into()),
            user_agent: Some("Mine/1".into()),
            color_scheme: Some(ColorScheme::Dark),
            device_scale_factor: Some(2.0),
            ..plain.clone()
        };
        let same = Overrides::of(&started, &started, "Chrome/1");
        let worker = same.commands(None, TargetKind::Worker);
        let expected = ["Emulation.setUserAgentOverride", "Emulation.setLocaleOverride"];
        assert_eq!(methods(&worker), expected);
        assert_eq!(worker[0].1, json!({ "userAgent": "Mine/1" }));
        assert_eq!(methods(&same.commands(Some(&same), TargetKind::Page)), expected);

        let changed = BrowserSettings {
            locale: Some("fr-FR".into()),
            timezone: Some("Europe/Paris".into()),
            color_scheme: None,
            geolocation: Some(Geolocation { latitude: 1.0, longitude: 2.0, accuracy: 3.0 }),
            ..started.clone()
        };
        let next = Overrides::of(&started, &changed, "Chrome/1");
        let page = next.commands(Some(&same), TargetKind::Page);
        assert_eq!(page[0].1["acceptLanguage"], "fr-FR,fr");
        assert_eq!(page[2].1, json!({ "timezoneId": "Europe/Paris" }));
        assert_eq!(page[3].1["features"][0]["value"], "light");
        assert_eq!(page[4].1, json!({ "latitude": 1.0, "longitude": 2.0, "accuracy": 3.0 }));
        assert_eq!(page.len(), 5);
        assert_eq!(next.commands(None, TargetKind::Frame).len(), 4);

        let back = same.commands(Some(&next), TargetKind::Page);
        assert_eq!(
            back[2..],
            [
                ("Emulation.setTimezoneOverride", json!({ "timezoneId": "" })),
                ("Emulation.setEmulatedMedia", json!({ "features": [] })),
                ("Emulation.clearGeolocationOverride", json!({})),
            ]
        );
    }

    #[test]
    fn a_phone_has_its_viewport_touch_and_user_agent() {
        let plain = BrowserSettings::default();
        let phone = BrowserSettings { mobile: Some(Mobile::default()), ..plain.clone() };
        let overrides = Overrides::of(&plain, &phone, "Chrome/156.0.1.2");
        let page = overrides.commands(None, TargetKind::Page);
        assert_eq!(
            methods(&page),
            [
                "Emulation.setUserAgentOverride",
                "Emulation.setDeviceMetricsOverride",
                "Emulation.setTouchEmulationEnabled",
            ]
        );
        assert_eq!(page[0].1["userAgentMetadata"]["mobile"], true);
        assert_eq!(page[1].1["width"], 412);
    }
}
