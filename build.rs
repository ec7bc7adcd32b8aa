//! Checks that the pages to embed have been built.

use std::path::Path;
use std::process::exit;

fn main() {
    println!("cargo:rerun-if-changed=web/dist");
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    if !Path::new(&root).join("web/dist/view.html").is_file() {
        println!(
            "cargo:error=the pages are not built: web/dist/view.html is missing; \
             run scripts/setup, which builds them from web/"
        );
        exit(1);
    }
}
