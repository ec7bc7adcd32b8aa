//! Any text as a template, as an expression, and as code: rendered or refused, in bounded time.
#![no_main]

use std::sync::LazyLock;

use greenroom_fuzz::template::{Names, Renderer, pure_expression};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static RENDERER: LazyLock<Renderer> = LazyLock::new(|| Renderer::new(false));
static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let values = json!({"a": "Ada", "b": [1, 2.5, null, {"c": true}], "o": {"z": 1, "a": [1]}});
    values.as_object().map(Names::new).unwrap_or_else(|| Names::new(&serde_json::Map::new()))
});

fuzz_target!(|text: &str| {
    let _outcome = RENDERER.check("x", text);
    let _outcome = RENDERER.text("x", text, &NAMES);
    let _outcome = RENDERER.code("x", text, &NAMES);
    let expression = pure_expression(text).unwrap_or(text);
    if let Ok(value) = RENDERER.evaluate("x", expression, &NAMES) {
        assert!(serde_json::from_str::<serde_json::Value>(&value.to_string()).is_ok());
    }
});
