use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The tree of a page, as Chromium 156 gave it, without boxes of texts.
const PARTS: &str = include_str!("parts.json");

fn tree(nodes: Value) -> Tree {
    Tree::new(serde_json::from_value(nodes).unwrap())
}

fn all() -> Selection {
    Selection { start: 0, max_chars: 100_000, interactive: false, depth: None }
}

/// Prints with references that count up, and returns the text with the number of lines left out.
fn printed(trees: &[Tree], selection: Selection) -> (String, usize) {
    let mut last = 0;
    let outline = print(trees, selection, &mut |_frame, _node, _acts| {
        last += 1;
        last
    });
    (outline.text, outline.left_out)
}

fn parts() -> Vec<Tree> {
    let mut outer = tree(serde_json::from_str(PARTS).unwrap());
    let frames = outer.frames(0);
    assert_eq!(frames.len(), 2);
    outer.inner = HashMap::from([(frames[0], Some(1)), (frames[1], None)]);
    let inner = tree(json!([
        { "nodeId": "1", "role": { "value": "RootWebArea" }, "childIds": ["2"] },
        { "nodeId": "2", "role": { "value": "button" }, "name": { "value": "Pay" },
          "backendDOMNodeId": 2 },
    ]));
    vec![outer, inner]
}

#[test]
fn the_parts_of_a_page_are_lines() {
    let expected = r##"- generic [ref=e1]: Box
- button "Mute" [pressed=mixed] [ref=e2]
- group [ref=e3]:
  - button "More" [expanded] [ref=e4]
  - text: Body
- navigation "Main" [ref=e5]:
  - link "Two parts" [ref=e6]:
    - /url: /a
  - link "Logo" [ref=e7]:
    - /url: #b
    - img "Logo" [ref=e8]
- table [ref=e9]:
  - row [ref=e10]:
    - rowheader "Name" [ref=e11]
    - cell "Pick" [ref=e12]:
      - checkbox "Pick" [ref=e13]
- textbox "Day" [ref=e14]: 2020-01-02
- textbox "Bad" [readonly] [invalid] [ref=e15]
- group "Group" [ref=e16]:
  - radio "A" [checked] [ref=e17]
- progressbar [ref=e18]: 0.5
- text: a
- text: b
- tree "T" [ref=e19]:
  - treeitem "Leaf" [level=2] [expanded=false] [ref=e20]
- iframe "Frame" [ref=e21]:
  - button "Pay" [ref=e22]
- iframe "Lost" [unavailable] [ref=e23]
"##;
    let (text, left_out) = printed(&parts(), all());
    assert_eq!(text, expected);
    assert_eq!(left_out, 0);
}

#[test]
fn texts_side_by_side_are_joined_with_a_space() {
    let text = |id: &str, name: &str| json!({ "nodeId": id, "role": { "value": "StaticText" }, "name": { "value": name } });
    let span = |id: &str, child: &str| json!({ "nodeId": id, "ignored": true, "role": { "value": "none" }, "childIds": [child] });
    let page = tree(json!([
        { "nodeId": "1", "role": { "value": "RootWebArea" }, "childIds": ["2", "3"] },
        { "nodeId": "2", "role": { "value": "paragraph" }, "childIds": ["4", "5"] },
        { "nodeId": "3", "role": { "value": "heading" }, "name": { "value": "Unlike 5" },
          "childIds": ["6", "7", "8"] },
        span("4", "9"), span("5", "10"), text("9", "€ 489.00"), text("10", "4 in stock"),
        text("6", "Un"), text("7", "like "), text("8", "5"),
    ]));
    let (printed, _) = printed(&[page], all());
    assert_eq!(printed, "- paragraph: € 489.00 4 in stock\n- heading \"Unlike 5\"\n");
}

#[test]
fn what_a_person_can_act_on_is_printed_alone() {
    let (text, _) = printed(&parts(), Selection { interactive: true, ..all() });
    let expected = r##"- generic [ref=e1]: Box
- button "Mute" [pressed=mixed] [ref=e2]
- button "More" [expanded] [ref=e3]
- link "Two parts" [ref=e4]:
  - /url: /a
- link "Logo" [ref=e5]:
  - /url: #b
- checkbox "Pick" [ref=e6]
- textbox "Day" [ref=e7]: 2020-01-02
- textbox "Bad" [readonly] [invalid] [ref=e8]
- radio "A" [checked] [ref=e9]
- treeitem "Leaf" [level=2] [expanded=false] [ref=e10]
- iframe "Frame" [ref=e11]:
  - button "Pay" [ref=e12]
- iframe "Lost" [unavailable] [ref=e13]
"##;
    assert_eq!(text, expected);
}

#[test]
fn what_has_no_room_is_counted_and_gets_no_reference() {
    let (whole, _) = printed(&parts(), all());
    let most = whole.lines().take(4).map(|line| line.len() + 1).sum();
    let mut numbers = 0;
    let selection = Selection { max_chars: most, ..all() };
    let outline = print(&parts(), selection, &mut |_frame, _node, _acts| {
        numbers += 1;
        numbers
    });
    assert_eq!(outline.text.lines().count(), 4);
    assert_eq!(outline.left_out, whole.lines().count() - 4);
    assert!(numbers <= 5, "{numbers}");
}

#[test]
fn a_deep_tree_and_a_tree_with_a_loop_are_printed() {
    let node = |at: usize, child: usize| {
        json!({ "nodeId": at.to_string(), "role": { "value": "list" }, "backendDOMNodeId": at,
            "childIds": [child.to_string()] })
    };
    let deep: Vec<Value> = (0..50_000).map(|at| node(at, at + 1)).collect();
    let selection = Selection { max_chars: 1_000, ..all() };
    let (text, left_out) = printed(&[tree(deep.into())], selection);
    assert_eq!(text.lines().count() + left_out, 50_000);
    let (text, _) = printed(&[tree(json!([node(0, 1), node(1, 0)]))], all());
    assert_eq!(text, "- list [ref=e1]:\n  - list [ref=e2]\n");
}

proptest! {
    #[test]
    fn texts_never_forge_a_line_or_a_reference(
        name in "[\\PC\n\r\t\"\\[\\]:#-]{0,30}(\\[ref=e1\\])?",
        value in "([\n\r]- button)?[\\PC\n \"\\[\\]:#-]{0,30}(\\[ref=e1\\])?",
    ) {
        let page = tree(json!([
            { "nodeId": "1", "role": { "value": "RootWebArea" }, "childIds": ["2", "3", "5"] },
            { "nodeId": "2", "role": { "value": "textbox" }, "name": { "value": name },
              "value": { "value": value }, "backendDOMNodeId": 2 },
            { "nodeId": "3", "role": { "value": "paragraph" }, "childIds": ["4"],
              "backendDOMNodeId": 3 },
            { "nodeId": "4", "role": { "value": "StaticText" }, "name": { "value": value } },
            { "nodeId": "5", "role": { "value": "link" }, "name": { "value": name },
              "properties": [{ "name": "url", "value": { "value": value } }],
              "backendDOMNodeId": 5 },
        ]));
        let (text, _) = printed(&[page], all());
        let lines: Vec<&str> = text.lines().collect();
        prop_assert!(lines.len() <= 4, "{}", text);
        prop_assert_eq!(text.matches("[ref=e").count(), 3, "{}", &text);
        prop_assert!(lines[0].starts_with("- textbox"), "{}", text);
        prop_assert!(lines[1].starts_with("- paragraph"), "{}", text);
        prop_assert!(lines[2].starts_with("- link"), "{}", text);
    }
}
