//! The codec alone: the server around it would take minutes to build with a sanitizer, and has no part
//! in this.

#[path = "../../src/domain/rfb/mod.rs"]
pub mod rfb;
