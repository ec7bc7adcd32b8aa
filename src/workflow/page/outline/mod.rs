//! The accessibility tree of a page as text; pure, without a connection.
//!
//! The form is the one that agents know as the ARIA snapshot of Playwright. Texts of the page cannot
//! forge it: they never begin a line, and what could pass for structure is in quotes and escaped.

pub(super) mod node;
pub(super) mod roles;
mod text;

use std::collections::{HashMap, HashSet};

use self::node::AxNode;
use self::roles::Showing;
use self::text::{plain, quoted, squash};

/// The maximum length of a name or of a text, in characters.
const LONGEST: usize = 1_000;
/// The maximum length of the address of a link, in characters.
const LONGEST_URL: usize = 300;

/// The tree of one frame, with the frames in it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<AxNode>,
    index: HashMap<String, usize>,
    /// The index of the tree of each inner frame, by the element of the frame. None if
    /// the frame could not be read.
    pub(super) inner: HashMap<i64, Option<usize>>,
}

impl Tree {
    pub(super) fn new(nodes: Vec<AxNode>) -> Self {
        let index = nodes.iter().enumerate().map(|(at, node)| (node.id().to_owned(), at)).collect();
        Self { nodes, index, inner: HashMap::new() }
    }

    /// Returns the position of an element's node.
    pub(super) fn find(&self, node: i64) -> Option<usize> {
        self.nodes.iter().position(|other| other.node == Some(node))
    }

    /// Returns the name of the document, which is its title, on one line.
    pub(super) fn title(&self) -> String {
        one_line(self.nodes.first().map(AxNode::name).unwrap_or_default())
    }

    fn url(&self) -> String {
        self.nodes.first().and_then(|root| root.property("url")).unwrap_or_default()
    }

    /// Returns the positions of a node and of all nodes below it, each parent before its children.
    fn below(&self, start: usize) -> Vec<usize> {
        let mut seen = HashSet::new();
        let mut order = Vec::new();
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            let Some(node) = self.nodes.get(at).filter(|_node| seen.insert(at)) else { continue };
            order.push(at);
            open.extend(node.children().rev().filter_map(|id| self.index.get(id)));
        }
        order
    }

    /// Returns the elements of frames below a node.
    pub(super) fn frames(&self, start: usize) -> Vec<i64> {
        let nodes = self.below(start).into_iter().filter_map(|at| self.nodes.get(at));
        let frames = nodes.filter(|node| !node.ignored && roles::holds_frame(node.role()));
        frames.filter_map(|node| node.node).collect()
    }
}

/// The part of the trees that is printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection {
    /// The position of the node in the first tree below which is printed.
    pub(super) start: usize,
    /// The maximum number of characters.
    pub(super) max_chars: usize,
    /// True if only headings are printed, and what a person can act on.
    pub(super) interactive: bool,
    /// The maximum number of levels.
    pub(super) depth: Option<usize>,
}

/// A printed part of the trees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) text: String,
    /// The number of lines that had no room.
    pub(super) left_out: usize,
}

#[derive(Debug, Clone)]
enum Item {
    Text(String),
    /// The index of an element.
    Element(usize),
    /// The border of a box: texts on its two sides are not one text.
    Break,
}

#[derive(Debug)]
struct Element {
    frame: usize,
    node: Option<i64>,
    role: String,
    name: String,
    attributes: Vec<String>,
    text: String,
    url: Option<String>,
    children: Vec<Item>,
    /// True if a person can act on the element.
    acts: bool,
}

struct Builder<'a> {
    trees: &'a [Tree],
    interactive: bool,
    /// All elements; children are indices, so that nothing recurses into a deep page.
    elements: Vec<Element>,
    /// The contents of each frame, by the index of its tree.
    tops: HashMap<usize, Vec<Item>>,
}

/// Returns a text of a page on one line, cut and without characters that are not seen.
pub(super) fn one_line(text: &str) -> String {
    squash(text, LONGEST)
}

/// Like [`one_line`], with at most `longest` characters before the sign of a cut.
pub(super) fn cut_line(text: &str, longest: usize) -> String {
    squash(text, longest)
}

/// Prints trees, of which the first contains the others. `number` gives the reference of an element,
/// by the index of its tree and its node; its last argument is true if a person can act on it.
pub(super) fn print(
    trees: &[Tree],
    selection: Selection,
    number: &mut dyn FnMut(usize, i64, bool) -> u64,
) -> Outline {
    let tops = HashMap::new();
    let mut builder =
        Builder { trees, interactive: selection.interactive, elements: Vec::new(), tops };
    // An inner frame follows the frame around it.
    for frame in (0..trees.len()).rev() {
        let start = if frame == 0 { selection.start } else { 0 };
        builder.build(frame, start);
    }
    builder.lines(selection, number)
}

impl Builder<'_> {
    fn build(&mut self, frame: usize, start: usize) {
        let Some(tree) = self.trees.get(frame) else { return };
        let url = tree.url();
        let mut built: HashMap<usize, Vec<Item>> = HashMap::new();
        // The children of a node are built before it.
        for at in tree.below(start).into_iter().rev() {
            let Some(node) = tree.nodes.get(at) else { continue };
            let children = node.children().filter_map(|id| tree.index.get(id));
            let children = children.filter_map(|child| built.remove(child)).flatten().collect();
            let items = self.items(frame, node, children, &url);
            built.insert(at, items);
        }
        let top = tidied(built.remove(&start).unwrap_or_default(), "", &self.elements, false);
        self.tops.insert(frame, top);
    }

    /// Returns what is printed of a node.
    fn items(
        &mut self,
        frame: usize,
        node: &AxNode,
        mut children: Vec<Item>,
        page: &str,
    ) -> Vec<Item> {
        let role = node.role();
        let showing = roles::showing(role);
        if showing == Showing::Text && !node.ignored {
            return vec![Item::Text(node.name().to_owned())];
        }
        match showing {
            Showing::Text | Showing::Nothing => return Vec::new(),
            Showing::LineBreak => return vec![Item::Text(" ".to_owned())],
            Showing::Container => return self.passed(children),
            Showing::Menu => {
                for item in &children {
                    if let Item::Element(at) = item
                        && let Some(option) = self.elements.get_mut(*at)
                    {
                        option.node = None;
                    }
                }
                return children;
            }
            Showing::Inline => return children,
            Showing::Element { .. } => {}
        }
        if node.ignored {
            return children;
        }
        let Showing::Element { role: shown, acts, named_only, children: of } = showing else {
            return children;
        };
        let name = squash(node.name(), LONGEST);
        let is_focusable = node.has("focusable");
        let acts = acts || (is_focusable && !roles::holds_frame(role));
        let is_bare = named_only && name.is_empty() && !acts;
        let is_passed =
            self.interactive && !acts && !(shown == "heading" || roles::holds_frame(role));
        if is_bare {
            children.insert(0, Item::Break);
            children.push(Item::Break);
            return children;
        }
        if is_passed {
            return self.passed(children);
        }
        let value = squash(&node.value(), LONGEST);
        let mut text = String::new();
        match of {
            roles::Children::All => {}
            roles::Children::Acting => {
                let is_kept = |item: &Item| match item {
                    Item::Text(_) => name.is_empty(),
                    Item::Element(at) => self.elements.get(*at).is_some_and(|inner| inner.acts),
                    Item::Break => true,
                };
                children.retain(is_kept);
                text.clone_from(&value);
            }
            roles::Children::Value => {
                children.clear();
                text.clone_from(&value);
            }
            roles::Children::Options => {
                let is_option = |item: &Item| match item {
                    Item::Text(_) | Item::Break => false,
                    Item::Element(at) => {
                        self.elements.get(*at).is_some_and(|inner| roles::in_list(&inner.role))
                    }
                };
                children.retain(is_option);
                if children.is_empty() {
                    text.clone_from(&value);
                }
            }
        }
        if !text.is_empty() && text.chars().all(|letter| letter == '•') {
            "[protected]".clone_into(&mut text);
        }
        if let Some(node) = node.node
            && let Some(inner) = self.trees.get(frame).and_then(|tree| tree.inner.get(&node))
        {
            children = inner.and_then(|inner| self.tops.remove(&inner)).unwrap_or_default();
        }
        let mut attributes = roles::attributes(node, shown);
        let is_unread = node.node.is_some_and(|node| {
            self.trees.get(frame).is_some_and(|tree| tree.inner.get(&node) == Some(&None))
        });
        if is_unread {
            attributes.push("unavailable".to_owned());
        }
        let mut children = tidied(children, &name, &self.elements, roles::names_content(shown));
        if let ([Item::Text(only)], true) = (children.as_slice(), text.is_empty()) {
            text.clone_from(only);
            children.clear();
        }
        let url = (shown == "link").then(|| node.property("url")).flatten();
        let url = url.filter(|url| !url.is_empty()).map(|url| shortened(&url, page));
        let role = if shown.is_empty() { role.to_lowercase() } else { shown.to_owned() };
        let node = node.node;
        self.elements.push(Element {
            frame,
            node,
            role,
            name,
            attributes,
            text,
            url,
            children,
            acts,
        });
        vec![Item::Element(self.elements.len() - 1)]
    }

    /// Returns the children of a node that is not printed itself.
    fn passed(&self, mut children: Vec<Item>) -> Vec<Item> {
        if self.interactive {
            children.retain(|item| !matches!(item, Item::Text(_)));
        }
        children.insert(0, Item::Break);
        children.push(Item::Break);
        children
    }

    fn lines(
        &self,
        selection: Selection,
        number: &mut dyn FnMut(usize, i64, bool) -> u64,
    ) -> Outline {
        let mut outline = Outline::default();
        let mut used = 0;
        let top = self.tops.get(&0).cloned().unwrap_or_default();
        let mut open: Vec<(Item, usize)> = top.into_iter().rev().map(|item| (item, 0)).collect();
        while let Some((item, level)) = open.pop() {
            // A line that has no room is counted and not made: a deep page would need long indents.
            let has_room = outline.left_out == 0;
            let indent = if has_room { "  ".repeat(level) } else { String::new() };
            let lines = match item {
                Item::Break => continue,
                Item::Text(text) => vec![format!("{indent}- text: {}", plain(&text))],
                Item::Element(at) => {
                    let Some(element) = self.elements.get(at) else { continue };
                    let is_deep = selection.depth.is_some_and(|depth| level + 1 >= depth);
                    if !is_deep {
                        let inner = element.children.iter().rev().cloned();
                        open.extend(inner.map(|item| (item, level + 1)));
                    }
                    // An element that is not printed gets no reference.
                    let reference = element
                        .node
                        .filter(|_node| has_room)
                        .map(|node| number(element.frame, node, element.acts));
                    element.lines(&indent, reference, is_deep)
                }
            };
            for line in lines {
                let length = line.chars().count() + 1;
                if outline.left_out > 0 || used + length > selection.max_chars {
                    outline.left_out += 1;
                    continue;
                }
                used += length;
                outline.text.push_str(&line);
                outline.text.push('\n');
            }
        }
        outline
    }
}

impl Element {
    fn lines(&self, indent: &str, reference: Option<u64>, is_deep: bool) -> Vec<String> {
        let mut line = format!("{indent}- {}", self.role);
        if !self.name.is_empty() {
            line.push(' ');
            line.push_str(&quoted(&self.name));
        }
        let more = (is_deep && !self.children.is_empty()).then(|| "more".to_owned());
        let reference = reference.map(|number| format!("ref=e{number}"));
        for attribute in self.attributes.iter().chain(&more).chain(&reference) {
            line.push_str(&format!(" [{attribute}]"));
        }
        if self.url.is_some() || !(is_deep || self.children.is_empty()) {
            line.push(':');
            if !self.text.is_empty() {
                // A line has a text or what follows it, not both.
                let inner = format!("{indent}  - text: {}", plain(&self.text));
                return [line, inner].into_iter().chain(self.url_line(indent)).collect();
            }
        } else if !self.text.is_empty() {
            line.push_str(": ");
            line.push_str(&plain(&self.text));
        }
        [line].into_iter().chain(self.url_line(indent)).collect()
    }

    fn url_line(&self, indent: &str) -> Option<String> {
        self.url.as_ref().map(|url| format!("{indent}  - /url: {}", plain(url)))
    }
}

/// Appends a text to one before it, with a space between them. The tree does not say whether the two
/// are one word: `<span>`s in a row may be far from each other on the screen.
fn join(before: &mut String, text: &str) {
    let has_gap = before.is_empty()
        || before.ends_with(char::is_whitespace)
        || text.is_empty()
        || text.starts_with(char::is_whitespace);
    if !has_gap {
        before.push(' ');
    }
    before.push_str(text);
}

/// Returns a text without white space: the browser may have joined the texts of a name otherwise.
fn letters(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_whitespace()).collect()
}

/// Joins texts that are one text, and drops those that only repeat a name next to them.
fn tidied(items: Vec<Item>, name: &str, elements: &[Element], names_content: bool) -> Vec<Item> {
    let mut joined: Vec<Item> = Vec::new();
    for item in items {
        match (joined.last_mut(), item) {
            (Some(Item::Text(before)), Item::Text(text)) => join(before, &text),
            (Some(Item::Break) | None, Item::Break) => {}
            (_, item) => joined.push(item),
        }
    }
    let mut items: Vec<Item> = Vec::new();
    for item in joined {
        match item {
            Item::Break => {}
            Item::Text(text) => {
                let text = squash(&text, LONGEST);
                if !text.is_empty() {
                    items.push(Item::Text(text));
                }
            }
            Item::Element(at) => items.push(Item::Element(at)),
        }
    }
    let texts = items.iter().filter_map(|item| match item {
        Item::Text(text) => Some(text.as_str()),
        Item::Element(_) | Item::Break => None,
    });
    let name = letters(name);
    let says_name = !name.is_empty() && letters(&texts.collect::<String>()) == name;
    let name_of = |item: Option<&Item>| match item {
        Some(Item::Element(at)) => elements.get(*at).map(|element| letters(&element.name)),
        Some(Item::Text(_) | Item::Break) | None => None,
    };
    let is_repeated = |at: usize, text: &str| {
        let before = at.checked_sub(1).and_then(|before| items.get(before));
        let text = letters(text);
        says_name
            || text == name
            || (names_content && name.contains(&text))
            || name_of(before).as_ref() == Some(&text)
            || name_of(items.get(at + 1)).as_ref() == Some(&text)
    };
    let kept = items.iter().enumerate().filter(|(at, item)| match item {
        Item::Text(text) => !is_repeated(*at, text),
        Item::Element(_) | Item::Break => true,
    });
    kept.map(|(_at, item)| item.clone()).collect()
}

/// Writes the address of a link without what it has in common with the address of its page.
fn shortened(url: &str, page: &str) -> String {
    let without_fragment = page.split('#').next().unwrap_or_default();
    let shorter = match url::Url::parse(page) {
        Ok(page) if page.has_host() => {
            let origin = page.origin().ascii_serialization();
            let inner = url.strip_prefix(without_fragment).filter(|rest| rest.starts_with('#'));
            inner.or_else(|| url.strip_prefix(&origin).filter(|rest| rest.starts_with('/')))
        }
        Ok(_) | Err(_) => None,
    };
    squash(shorter.unwrap_or(url), LONGEST_URL)
}

#[cfg(test)]
mod tests;
