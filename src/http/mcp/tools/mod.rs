//! The tools, one file for each subject.

pub mod actions;
pub mod files;
pub mod pages;
pub mod people;
pub mod reading;
pub mod runs;
pub mod sessions;
