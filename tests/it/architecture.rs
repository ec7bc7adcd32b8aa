//! The floors of the sources, checked.

mod cycles;

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, with the lower floors that each may name.
const FLOORS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("metrics", &[]),
    ("traces", &["domain", "metrics"]),
    ("schema", &[]),
    ("db", &["domain", "metrics", "traces", "schema"]),
    ("egress", &["domain"]),
    ("workflow", &["domain", "egress"]),
    ("system", &["domain", "metrics", "traces", "egress"]),
    ("actors", &["domain", "metrics", "traces", "db", "egress", "workflow", "system"]),
    ("service", &["domain", "metrics", "traces", "db", "egress", "workflow", "system", "actors"]),
    (
        "live",
        &["domain", "metrics", "traces", "db", "egress", "workflow", "system", "actors", "service"],
    ),
    // Endpoints read lists from the database, and check definitions before a request to an actor.
    (
        "http",
        &[
            "domain", "metrics", "traces", "db", "egress", "workflow", "system", "actors",
            "service", "live",
        ],
    ),
    (
        "config",
        &[
            "domain", "traces", "db", "egress", "workflow", "system", "actors", "service", "live",
            "http",
        ],
    ),
    (
        "app",
        &[
            "domain", "traces", "db", "egress", "workflow", "system", "actors", "service", "live",
            "http", "config",
        ],
    ),
    (
        "cli",
        &[
            "domain", "traces", "db", "egress", "workflow", "system", "actors", "service", "live",
            "http", "config", "app",
        ],
    ),
];

/// Crates that only some floors may name.
const CRATES: &[(&str, &[&str])] = &[
    ("actix", &["actors", "http", "app"]),
    ("actix_web", &["live", "http", "app"]),
    ("actix_ws", &["live", "http"]),
    ("diesel", &["schema", "db"]),
    ("diesel_async", &["db"]),
];

/// Further names that a floor may use, with the reason.
///
/// `config` has the settings of the server's stop, which `app` defines.
const EXCEPTIONS: &[(&str, &str)] = &[("config", "app")];

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The files of each floor, with their texts.
fn sources() -> Vec<(&'static str, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    for (floor, _) in FLOORS {
        let mut files = rust_files(&src.join(floor));
        files.extend(Some(src.join(format!("{floor}.rs"))).filter(|file| file.exists()));
        assert!(!files.is_empty(), "there is no floor {floor}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            sources.push((*floor, file, text));
        }
    }
    sources
}

/// The word that `text` begins with.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The floors that a file names: after `crate::`, or at the start of an item of `use crate::{…}`.
fn used_floors(text: &str) -> Vec<&str> {
    let code = |line: &&str| !line.trim_start().starts_with("//");
    let lines: Vec<&str> = text.lines().filter(code).collect();
    let mut used = Vec::new();
    let mut depth = 0_usize;
    for line in lines {
        if depth == 1 {
            used.push(word(line.trim()));
        }
        if depth > 0 {
            depth = (depth + line.matches('{').count()).saturating_sub(line.matches('}').count());
            continue;
        }
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(items) => {
                    used.extend(items.split([',', '}']).map(|item| word(item.trim())));
                    depth =
                        (1 + items.matches('{').count()).saturating_sub(items.matches('}').count());
                }
                None => used.push(word(rest)),
            }
        }
    }
    used.retain(|name| FLOORS.iter().any(|(floor, _)| floor == name));
    used
}

#[test]
fn no_floor_looks_up() {
    let mut wrong = Vec::new();
    for (floor, file, text) in sources() {
        let (_, may_use) = FLOORS.iter().find(|(name, _)| *name == floor).unwrap();
        for used in used_floors(&text) {
            let allowed =
                used == floor || may_use.contains(&used) || EXCEPTIONS.contains(&(floor, used));
            if !allowed {
                wrong.push(format!("{}: {floor} uses {used}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_floors_meant_for_them_name_actix_and_diesel() {
    let mut wrong = Vec::new();
    for (floor, file, text) in sources() {
        for (name, floors) in CRATES {
            let path = format!("{name}::");
            let names = text.lines().map(str::trim_start).any(|line| {
                !line.starts_with("//")
                    && line.match_indices(&path).any(|(at, _)| {
                        !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                    })
            });
            if names && !floors.contains(&floor) {
                wrong.push(format!("{}: {floor} names {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn floors_are_found_however_they_are_written() {
    let text = "use crate::domain::ids;\nuse crate::{actors, db};\nuse crate::{\n    http::{\n\
                body,\n    },\n    system,\n};\n// crate::app\nfn f() { crate::config::load() }";
    let mut used = used_floors(text);
    used.sort_unstable();
    assert_eq!(used, ["actors", "config", "db", "domain", "http", "system"]);
}

#[test]
fn no_file_is_longer_than_it_may_be() {
    let long = sources().into_iter().filter_map(|(_, file, text)| {
        let lines = text.lines().count();
        let excused = text.lines().take_while(|line| line.starts_with("//!")).any(|line| {
            line.to_lowercase().contains("one file") || line.to_lowercase().contains("long")
        });
        (lines > 700 && !excused).then(|| format!("{}: {lines} lines", file.display()))
    });
    let long: Vec<_> = long.collect();
    assert!(long.is_empty(), "divide them, or say why not in their docs:\n{}", long.join("\n"));
}
