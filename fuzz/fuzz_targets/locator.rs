//! Any text as a locator: read, or refused with a reason.
#![no_main]

use greenroom_fuzz::locator::Locator;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = Locator::parse(text);
    assert_eq!(read, Locator::parse(text));
    match read {
        Ok(locator) => assert!(serde_json::to_string(&locator).is_ok_and(|it| it.len() > 2)),
        Err(error) => assert!(!error.reason.is_empty()),
    }
    let _outcome = Locator::parse_template(text);
});
