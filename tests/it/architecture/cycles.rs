//! The import cycles between the files of the sources.
//!
//! An import is a path in a `use`. It leads to the file that defines the item, through re-exports.
//! Test code is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The most files that may import one another in a cycle.
const MOST: usize = 3;

/// The segments of a path.
type Segments = Vec<String>;

/// A file of the sources.
struct Source {
    /// The path of the file below `src`.
    file: String,
    /// The path of its module.
    module: Segments,
    /// The paths that it imports, and does not export.
    imports: Vec<Segments>,
    /// The paths that it exports again, by name.
    exports: BTreeMap<String, Segments>,
}

/// The path of the module in `file`; `None` for test code.
fn module_of(file: &str) -> Option<Segments> {
    let mut module: Segments = file.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    let is_test = |name: &String| name == "tests" || name == "testing" || name.ends_with("_tests");
    if module.iter().any(is_test) {
        return None;
    }
    if module.last().is_some_and(|name| name == "mod") {
        module.pop();
    }
    Some(module)
}

/// The `use` trees of a file, outside of comments and test code; each with true if it exports.
fn use_trees(text: &str) -> Vec<(bool, String)> {
    let mut trees = Vec::new();
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut is_test = false;
    while let Some(line) = lines.next() {
        let line = line.trim();
        let follows_test = std::mem::replace(&mut is_test, line == "#[cfg(test)]");
        if follows_test && line.ends_with('{') && line.split(' ').any(|word| word == "mod") {
            break; // Unit tests are the last item of a file.
        }
        let Some((before, tree)) = line.split_once("use ") else { continue };
        let before = before.trim();
        let is_exported = before == "pub" || (before.starts_with("pub(") && before.ends_with(')'));
        if !(is_exported || before.is_empty()) {
            continue;
        }
        let mut tree = tree.to_owned();
        while !tree.contains(';') {
            let Some(more) = lines.next() else { break };
            tree.push_str(more.trim());
        }
        if !follows_test {
            trees.push((is_exported, tree.replace(';', "")));
        }
    }
    trees
}

/// The paths of a `use` tree such as `a::{b, c::{d as e}}`, each with the name that it gets.
fn paths(tree: &str) -> Vec<(Segments, String)> {
    let Some((prefix, items)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut path: Segments = path.split("::").map(|part| part.trim().to_owned()).collect();
        path.retain(|part| !part.is_empty());
        if path.len() > 1 {
            path.pop_if(|last| last == "self" || last == "*");
        }
        let name =
            if name.is_empty() { path.last().cloned() } else { Some(name.trim().to_owned()) };
        return name.map(|name| (path, name)).into_iter().collect();
    };
    let mut depth = 0_usize;
    let mut parts = vec![String::new()];
    for c in items.trim_end().trim_end_matches(',').chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts.iter().flat_map(|part| paths(&format!("{prefix}{}", part.trim()))).collect()
}

/// The sources, and the imports between them.
struct Graph {
    sources: Vec<Source>,
    modules: BTreeMap<Segments, usize>,
    /// For each file: the files that it imports from, with the names.
    edges: Vec<BTreeMap<usize, BTreeSet<String>>>,
}

impl Graph {
    fn new(texts: &[(String, String)]) -> Self {
        let of =
            |(file, text): &(String, String)| Some((file.clone(), module_of(file)?, text.clone()));
        let files: Vec<(String, Segments, String)> = texts.iter().filter_map(of).collect();
        let numbered = files.iter().enumerate();
        let modules = numbered.map(|(index, (_, module, _))| (module.clone(), index)).collect();
        let mut graph = Self { sources: Vec::new(), modules, edges: Vec::new() };
        for (file, module, text) in files {
            let mut source =
                Source { file, module, imports: Vec::new(), exports: BTreeMap::default() };
            for (is_exported, tree) in use_trees(&text) {
                for (path, name) in paths(&tree) {
                    let Some(path) = graph.absolute(&path, &source.module) else { continue };
                    if is_exported {
                        source.exports.insert(name, path);
                    } else {
                        source.imports.push(path);
                    }
                }
            }
            graph.sources.push(source);
        }
        graph.edges = (0..graph.sources.len()).map(|from| graph.imported_by(from)).collect();
        graph
    }

    /// The path from the root of the crate; `None` for a path into another crate.
    fn absolute(&self, path: &[String], module: &[String]) -> Option<Segments> {
        let first = path.first()?;
        let child = [module, &path[..1]].concat();
        let ups = path.iter().take_while(|part| *part == "super").count();
        match first.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([module, &path[1..]].concat()),
            "super" => Some([&module[..module.len().checked_sub(ups)?], &path[ups..]].concat()),
            _ if self.modules.contains_key(&child) => Some([module, path].concat()),
            _ => None,
        }
    }

    /// The file that defines what `path` names, through re-exports.
    fn definition(&self, path: &[String]) -> Option<usize> {
        let is_module = |depth: &usize| self.modules.contains_key(&path[..*depth]);
        let depth = (1..=path.len()).rev().find(is_module)?;
        let file = self.modules[&path[..depth]];
        let exported = path.get(depth).and_then(|name| self.sources[file].exports.get(name));
        match exported {
            Some(exported) if exported[..] != path[..=depth] => {
                let path = [&exported[..], &path[depth + 1..]].concat();
                self.definition(&path).or(Some(file))
            }
            Some(_) | None => Some(file),
        }
    }

    fn imported_by(&self, from: usize) -> BTreeMap<usize, BTreeSet<String>> {
        let mut imported: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for path in &self.sources[from].imports {
            if let Some(to) = self.definition(path).filter(|to| *to != from) {
                imported.entry(to).or_default().extend(path.last().cloned());
            }
        }
        imported
    }

    /// The files that `from` depends on, directly or through others.
    fn reached_from(&self, from: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            open.extend(self.edges[at].keys().copied().filter(|to| reached.insert(*to)));
        }
        reached
    }

    /// The groups of files that depend on one another, the largest first.
    fn cycles(&self) -> Vec<BTreeSet<usize>> {
        let all = 0..self.sources.len();
        let reached: Vec<_> = all.clone().map(|from| self.reached_from(from)).collect();
        let within = |from: usize| {
            reached[from].iter().copied().filter(|to| reached[*to].contains(&from)).collect()
        };
        let cycles: BTreeSet<BTreeSet<usize>> =
            all.map(within).filter(|it: &BTreeSet<_>| !it.is_empty()).collect();
        let mut cycles: Vec<_> = cycles.into_iter().collect();
        cycles.sort_by_key(|cycle| std::cmp::Reverse(cycle.len()));
        cycles
    }

    /// The imports that close a cycle, a line for each file.
    fn explained(&self, cycle: &BTreeSet<usize>) -> String {
        let mut text = format!("{} files import one another:", cycle.len());
        for from in cycle {
            let within = self.edges[*from].iter().filter(|(to, _)| cycle.contains(*to));
            let named = within.map(|(to, names)| {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                format!("{} ({})", self.sources[*to].file, names.join(", "))
            });
            let named: Vec<String> = named.collect();
            text.push_str(&format!(
                "\n  {} imports {}",
                self.sources[*from].file,
                named.join(", ")
            ));
        }
        text
    }
}

#[test]
fn no_import_cycle_spans_more_than_three_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let texts = super::sources().into_iter().map(|(_, file, text)| {
        (file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), text)
    });
    let graph = Graph::new(&texts.collect::<Vec<_>>());
    assert!(graph.edges.iter().map(BTreeMap::len).sum::<usize>() > 500, "imports were not found");
    let cycles = graph.cycles();
    let large = cycles.iter().filter(|cycle| cycle.len() > MOST);
    let large: Vec<String> = large.map(|cycle| graph.explained(cycle)).collect();
    assert!(large.is_empty(), "move what they share into a file of its own:\n{}", large.join("\n"));
}

/// The imports between `files`, as `from -> to: names`.
#[track_caller]
fn check(files: &[(&str, &str)], expected: &[&str]) {
    let owned = |(file, text): &(&str, &str)| ((*file).to_owned(), (*text).to_owned());
    let graph = Graph::new(&files.iter().map(owned).collect::<Vec<_>>());
    let mut found = Vec::new();
    for (from, imported) in graph.edges.iter().enumerate() {
        for (to, names) in imported {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (from, to) = (&graph.sources[from].file, &graph.sources[*to].file);
            found.push(format!("{from} -> {to}: {}", names.join(" ")));
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn imports_are_found_however_they_are_written() {
    let b = ("b.rs", "pub struct B;");
    for text in [
        "use crate::b::B;",
        "use crate::{std_like, b::{B as C}};",
        "use crate::{\n    c::{d, e},\n    // use crate::none;\n    b::{\n        B,\n    },\n};",
        "fn f() {\n    use super::b::B;\n}",
        "use super::b::{self, B};\nuse std::fmt;",
    ] {
        let names = if text.contains("self") { "a.rs -> b.rs: B b" } else { "a.rs -> b.rs: B" };
        check(&[("a.rs", text), b], &[names]);
    }
    check(&[("a.rs", "// use crate::b::B;\nfn b() { reuse crate::b::B; }"), b], &[]);
    check(
        &[("a/mod.rs", "use self::c::C;\nuse d::D;"), ("a/c.rs", ""), ("a/d.rs", "use super::*;")],
        &["a/mod.rs -> a/c.rs: C", "a/mod.rs -> a/d.rs: D", "a/d.rs -> a/mod.rs: a"],
    );
    check(&[("a/b/c.rs", "use super::super::d::D;"), ("a/d.rs", "")], &["a/b/c.rs -> a/d.rs: D"]);
}

#[test]
fn an_import_leads_to_the_file_that_defines_the_item() {
    check(
        &[
            ("a.rs", "use crate::b::{C, Renamed, Own};"),
            ("b/mod.rs", "pub use self::c::C;\npub(crate) use crate::d::D as Renamed;"),
            ("b/c.rs", "pub use super::e::C;"),
            ("b/e.rs", ""),
            ("d.rs", ""),
        ],
        &["a.rs -> b/mod.rs: Own", "a.rs -> b/e.rs: C", "a.rs -> d.rs: Renamed"],
    );
}

#[test]
fn test_code_imports_nothing() {
    let b = ("b.rs", "");
    for (file, text) in [
        ("a.rs", "#[cfg(test)]\nuse crate::b::B;"),
        ("a.rs", "#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}"),
        ("a/tests.rs", "use crate::b::B;"),
        ("a/tests/more.rs", "use crate::b::B;"),
        ("a_tests.rs", "use crate::b::B;"),
        ("a/testing.rs", "use crate::b::B;"),
    ] {
        check(&[(file, text), b], &[]);
    }
    check(&[("a.rs", "#[cfg(test)]\nmod tests;\nuse crate::b::B;"), b], &["a.rs -> b.rs: B"]);
}

#[test]
fn a_cycle_is_the_largest_group_of_files_that_depend_on_one_another() {
    let text = |file: &str, text: &str| (file.to_owned(), text.to_owned());
    let graph = Graph::new(&[
        text("a.rs", "use crate::b::B;"),
        text("b.rs", "use crate::c::C;\nuse crate::d::D;"),
        text("c.rs", "use crate::a::A;"),
        text("d.rs", "use crate::e::E;"),
        text("e.rs", "use crate::d::D;"),
        text("f.rs", "use crate::a::A;"),
    ]);
    let cycles = graph.cycles();
    let sizes: Vec<usize> = cycles.iter().map(BTreeSet::len).collect();
    assert_eq!(sizes, [3, 2]);
    let explained = "3 files import one another:\n  a.rs imports b.rs (B)\n  \
                     b.rs imports c.rs (C)\n  c.rs imports a.rs (A)";
    assert_eq!(graph.explained(&cycles[0]), explained);
}
