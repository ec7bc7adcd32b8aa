//! Any text as a YAML document: read, bounded in depth and size, or refused with its line.
#![no_main]

use greenroom_fuzz::yaml;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match yaml::parse(text) {
        Ok(document) => {
            let written = document.value.to_string();
            // Numbers may differ in the last digit, because JSON is parsed without exact rounding.
            let again: serde_json::Value = serde_json::from_str(&written).expect("JSON");
            assert_eq!(again.is_object(), document.value.is_object());
            // A carriage return also ends a line of YAML.
            let last = text.matches(['\n', '\r']).count() + 1;
            assert!(document.lines.values().all(|line| (1..=last).contains(line)));
        }
        Err(error) => assert!(!error.message.is_empty()),
    }
});
