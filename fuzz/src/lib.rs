//! Only the parsers, because the server would take minutes to build.

#[path = "../../src/domain/rfb/mod.rs"]
pub mod rfb;

#[path = "../../src/domain/websocket.rs"]
pub mod websocket;

#[path = "../../src/workflow/template/mod.rs"]
pub mod template;

#[path = "../../src/workflow/definition/yaml.rs"]
pub mod yaml;

#[path = "../../src/workflow/page/locator.rs"]
pub mod locator;

#[path = "../../src/system/clipboard/pieces.rs"]
pub mod pieces;

#[path = "../../src/system/proc.rs"]
pub mod proc;
