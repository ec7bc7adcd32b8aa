//! The roles of Chromium's accessibility tree, and what an outline shows of each.

use super::node::AxNode;

/// The children that an outline shows of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Children {
    All,
    /// Those on which a person can act; the text is the name, or the value.
    Acting,
    /// None: the value stands for them.
    Value,
    /// The options of a list; the value if there are none.
    Options,
}

/// The form in which an outline shows a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Showing<'a> {
    /// The name, as text.
    Text,
    LineBreak,
    Nothing,
    /// The children, as if the node were not there.
    Inline,
    /// The children, whose texts do not join those around the node.
    Container,
    /// The children, which have no reference: they are selected, not clicked.
    Menu,
    Element {
        role: &'a str,
        /// True if a person can act on elements of the role.
        acts: bool,
        /// True if an element without a name has no meaning of its own.
        named_only: bool,
        children: Children,
    },
}

/// Returns what is shown of a role, which is one of ARIA or one of Chromium's own.
pub(super) fn showing(role: &str) -> Showing<'_> {
    let element =
        |role, acts, children| Showing::Element { role, acts, named_only: false, children };
    let grouping =
        |role| Showing::Element { role, acts: false, named_only: true, children: Children::All };
    match role {
        "StaticText" => Showing::Text,
        "LineBreak" => Showing::LineBreak,
        "InlineTextBox" | "ListMarker" => Showing::Nothing,
        "RootWebArea" => Showing::Container,
        "MenuListPopup" => Showing::Menu,
        "Abbr" | "Ruby" | "time" | "code" | "strong" | "emphasis" | "mark" | "subscript"
        | "superscript" | "insertion" | "deletion" => Showing::Inline,
        "" | "none" | "generic" | "LabelText" | "Legend" | "Figcaption" | "DescriptionList"
        | "sectionheader" | "sectionfooter" => grouping("generic"),
        "button" | "DisclosureTriangle" | "DisclosureTriangleGrouped" => {
            element("button", true, Children::Acting)
        }
        "checkbox" | "radio" | "switch" | "menuitemcheckbox" | "menuitemradio" | "tab"
        | "option" => element(role, true, Children::Acting),
        "MenuListOption" => element("option", true, Children::Acting),
        "slider" | "spinbutton" | "scrollbar" => {
            element(role, role != "scrollbar", Children::Value)
        }
        "progressbar" | "meter" => element(role, false, Children::Value),
        "textbox" | "searchbox" => element(role, true, Children::Value),
        "Date" | "DateTime" | "InputTime" | "Month" | "Week" => {
            element("textbox", true, Children::Value)
        }
        "ColorWell" => element("color", true, Children::Value),
        "combobox" => element(role, true, Children::Options),
        "listbox" => element(role, true, Children::All),
        "link" | "menuitem" | "treeitem" | "gridcell" => {
            element(role, role != "gridcell", Children::All)
        }
        "image" | "img" | "SvgRoot" => element("img", false, Children::Acting),
        "Canvas" => element("canvas", false, Children::Acting),
        "Video" => element("video", true, Children::Value),
        "Audio" => element("audio", true, Children::Value),
        "Iframe" | "IframePresentational" => element("iframe", false, Children::All),
        "EmbeddedObject" | "PluginObject" => element("object", true, Children::All),
        "LayoutTable" => element("table", false, Children::All),
        "LayoutTableRow" => element("row", false, Children::All),
        "LayoutTableCell" => element("cell", false, Children::All),
        "rowgroup" => grouping(role),
        _ if role.starts_with(|letter: char| letter.is_ascii_uppercase()) => grouping(""),
        _ => element(role, false, Children::All),
    }
}

/// Returns the roles of Chromium's tree that a role of a locator stands for.
pub(in crate::workflow::page) fn in_chromium(role: &str) -> Vec<&str> {
    match role {
        "img" | "image" => vec!["image", "SvgRoot"],
        "button" => vec!["button", "DisclosureTriangle", "DisclosureTriangleGrouped"],
        "table" => vec!["table", "LayoutTable"],
        "row" => vec!["row", "LayoutTableRow"],
        "cell" => vec!["cell", "LayoutTableCell"],
        "presentation" => vec!["none"],
        "directory" => vec!["list"],
        _ => vec![role],
    }
}

pub(super) fn holds_frame(role: &str) -> bool {
    matches!(role, "Iframe" | "IframePresentational")
}

/// True if the role is one of the entries of a list.
pub(super) fn in_list(role: &str) -> bool {
    matches!(role, "option" | "group" | "listbox")
}

/// True if the name of an element is usually its content.
pub(super) fn names_content(role: &str) -> bool {
    matches!(
        role,
        "heading"
            | "link"
            | "cell"
            | "gridcell"
            | "columnheader"
            | "rowheader"
            | "row"
            | "treeitem"
            | "menuitem"
            | "tooltip"
    )
}

/// Returns the states that are shown, as in `checked` or `level=2`.
pub(super) fn attributes(node: &AxNode, role: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let ("heading" | "treeitem", Some(level)) = (role, node.property("level")) {
        found.push(format!("level={level}"));
    }
    for name in ["checked", "pressed"] {
        match node.property(name).as_deref() {
            Some("true") => found.push(name.to_owned()),
            Some("mixed") => found.push(format!("{name}=mixed")),
            Some(_) | None => {}
        }
    }
    for name in ["selected", "disabled", "required", "readonly"] {
        if node.has(name) {
            found.push(name.to_owned());
        }
    }
    match node.property("expanded").as_deref() {
        Some("true") => found.push("expanded".to_owned()),
        Some("false") if role != "combobox" => found.push("expanded=false".to_owned()),
        Some(_) | None => {}
    }
    if node.property("invalid").is_some_and(|invalid| !["", "false"].contains(&invalid.as_str())) {
        found.push("invalid".to_owned());
    }
    if node.has("focused") {
        found.push("active".to_owned());
    }
    found
}
