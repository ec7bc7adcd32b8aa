//! Files below `/proc`, parts of which programs write themselves.
#![no_main]

use greenroom_fuzz::proc::{
    Stat, available_memory, control_group, entry_below, established, is_wiped, listener, role,
    segments, socket_inode, unix_listener, variable,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&[u8], &str, &str, u16)| {
    let (bytes, text, other, port) = data;
    // The name of a program, which it chooses, does not change the fields after it.
    let fields = "S 1 700 812 0 -1 4194304 5 0 0 0 1 2 0 0 20 0 9 0 98765 1";
    let line = format!("812 ({}) {fields}", String::from_utf8_lossy(bytes));
    let expected = Stat { state: 'S', group: 700, used: 3, start_time: 98_765 };
    assert_eq!(Stat::parse(&line), Some(expected));

    let _ = (Stat::parse(text), listener(text), available_memory(text), control_group(text, other));
    let _ = (unix_listener(text), socket_inode(text));
    assert!(segments(text).len() <= text.lines().count());
    assert!(established(text, port) <= text.lines().count());
    let _ = (role(bytes), entry_below(bytes, other), is_wiped(bytes));
    // No value extends past the end of its variable.
    assert!(variable(bytes, "GREENROOM_SESSION").is_none_or(|value| !value.contains(&0)));
});
