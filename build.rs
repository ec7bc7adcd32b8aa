//! Checks that the embedded pages are built from their present sources.

use std::path::Path;
use std::process::exit;
use std::time::SystemTime;

/// The sources of the pages.
const SOURCES: [&str; 5] =
    ["web/src", "web/build.mjs", "web/package.json", "web/package-lock.json", "web/tsconfig.json"];

fn main() {
    println!("cargo:rerun-if-changed=web/dist");
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let root = Path::new(&root);
    if !root.join("web/dist/view.html").is_file() {
        println!(
            "cargo:error=the pages are not built: web/dist/view.html is missing; \
             run scripts/setup, which builds them from web/"
        );
        exit(1);
    }
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }
    let changed = SOURCES.iter().filter_map(|source| newest(&root.join(source))).max();
    if changed > modified(&root.join("web/dist/view.html")) {
        println!(
            "cargo:warning=the pages are older than their sources in web/: run scripts/setup, \
             which builds them again"
        );
    }
}

/// The time of the latest change to a file, or below a folder.
fn newest(path: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| newest(&entry.path())).chain(modified(path)).max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}
