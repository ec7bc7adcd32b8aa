//! Snapshots: a page as text, from the accessibility tree of Chromium, with references to elements.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::outline::node::AxNode;
use super::outline::{self, Selection, Tree};
use super::references::{self, Referent, Shown};
use super::seeking::Found;
use super::worlds::{Frame, Miss, loader_of};
use super::{Browser, PageError};

/// The maximum number of elements of all frames: their trees are held in memory as a whole.
const MOST_ELEMENTS: u64 = 100_000;
/// The maximum length of all texts and attributes of all frames, in characters.
const MOST_TEXT: u64 = 10_000_000;
/// The number of snapshots that the server makes at once, each of which may take much memory.
const AT_ONCE: usize = 4;
static SNAPSHOTS: Semaphore = Semaphore::const_new(AT_ONCE);
/// The maximum number of frames that a snapshot contains.
const MOST_FRAMES: usize = 50;
/// The time limit for an inner frame, so that one that hangs does not cost the whole snapshot.
const INNER: Duration = Duration::from_secs(3);

/// The part of a page that a snapshot shows, and how much of it.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotOptions<'a> {
    /// The reference of the element to show, as in `e12`; the whole page if there is none.
    pub root: Option<&'a str>,
    /// The maximum length of the text, in characters.
    pub max_chars: usize,
    /// True if only headings are shown, and elements on which a person can act.
    pub interactive: bool,
    /// The maximum number of levels.
    pub depth: Option<usize>,
}

impl Default for SnapshotOptions<'_> {
    fn default() -> Self {
        Self { root: None, max_chars: 100_000, interactive: false, depth: None }
    }
}

/// A page as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The elements, one line each, in the form of an ARIA snapshot.
    pub text: String,
    /// The number of lines that had no room.
    pub left_out: usize,
    /// The URL of the page in the current tab.
    pub url: String,
    /// The title of the page, or of the document of the frame that is shown, on one line.
    pub title: String,
}

/// The size that the documents of a snapshot may still have.
#[derive(Debug)]
pub(super) struct Budget(Mutex<Size>);

#[derive(Debug, Clone, Copy)]
struct Size {
    elements: u64,
    text: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self(Mutex::new(Size { elements: MOST_ELEMENTS, text: MOST_TEXT }))
    }
}

impl Budget {
    fn left(&self) -> Size {
        *self.0.lock()
    }

    /// Takes the size of a document. False if too little is left.
    fn take(&self, size: Size) -> bool {
        let mut left = self.0.lock();
        let elements = left.elements.checked_sub(size.elements);
        let (Some(elements), Some(text)) = (elements, left.text.checked_sub(size.text)) else {
            return false;
        };
        *left = Size { elements, text };
        true
    }
}

/// A frame that was read.
struct Read {
    document: Arc<Shown>,
    tree: Tree,
    /// The frames in it, by their elements.
    inner: Vec<(i64, Frame)>,
}

impl Browser {
    /// Describes the page in the current tab, its frames included, and numbers its elements.
    pub async fn snapshot(
        &self,
        how: &SnapshotOptions<'_>,
        timeout: Duration,
    ) -> Result<Snapshot, PageError> {
        let deadline = Instant::now() + timeout;
        let late = || PageError::Timeout {
            what: "the page did not give a snapshot".to_owned(),
            after: timeout,
        };
        let session = self.working()?;
        let work = async {
            loop {
                match self.read_page(how, deadline).await {
                    Ok(snapshot) => return Ok(snapshot),
                    Err(Miss::Failed(error)) => return Err(error),
                    // The document was replaced meanwhile.
                    Err(Miss::Gone) => self.next_document(deadline).await.ok_or_else(late)?,
                }
            }
        };
        let crashed = self.until(deadline, |tabs| {
            let is_crashed = tabs.tab(&session).is_some_and(|tab| tab.crashed);
            is_crashed.then_some(())
        });
        tokio::select! {
            biased;
            done = timeout_at(deadline, work) => done.unwrap_or_else(|_elapsed| Err(late())),
            crashed = crashed => {
                self.working()?;
                Err(if crashed.is_some() { PageError::Crashed } else { late() })
            }
        }
    }

    async fn read_page(
        &self,
        how: &SnapshotOptions<'_>,
        deadline: Instant,
    ) -> Result<Snapshot, Miss> {
        let root = how.root.map(|reference| self.referent(reference)).transpose()?;
        let first = match &root {
            Some(root) => root.document.frame.clone(),
            None => self.main_frame()?,
        };
        let stale = || Miss::Failed(references::stale(how.root.unwrap_or_default()));
        let budget = Budget::default();
        let (read, _permit) = match self.check_size(&first, &budget).await {
            Ok(()) => {
                // Taken once the page has answered: one that hangs must not keep others waiting.
                let permit = SNAPSHOTS.acquire().await.ok();
                (self.read_frame(&first).await, permit)
            }
            Err(miss) => (Err(miss), None),
        };
        let read = match (read, &root) {
            (Ok(read), Some(root)) if read.document != root.document => return Err(stale()),
            (Err(Miss::Gone), Some(_)) => return Err(stale()),
            (read, _) => read?,
        };
        let start = root.map(|root| read.tree.find(root.node).ok_or_else(stale)).transpose()?;
        let start = start.unwrap_or_default();

        let mut documents = Vec::new();
        let mut trees = Vec::new();
        let shown = read.tree.frames(start);
        let mut open: Vec<_> = read.inner.clone();
        open.retain(|(node, _frame)| shown.contains(node));
        let mut open: Vec<_> = open.into_iter().map(|(node, frame)| (0, node, frame)).collect();
        documents.push(read.document);
        trees.push(read.tree);
        while !open.is_empty() {
            open.truncate(MOST_FRAMES.saturating_sub(trees.len()));
            let end = deadline.min(Instant::now() + INNER);
            let reads = open.iter().map(|(_, _, frame)| self.read_inner(frame, &budget, end));
            let reads = join_all(reads).await;
            let mut next = Vec::new();
            for ((around, node, _frame), read) in open.into_iter().zip(reads) {
                let at = trees.len();
                if let Some(tree) = trees.get_mut(around) {
                    let tree: &mut Tree = tree;
                    tree.inner.insert(node, read.is_some().then_some(at));
                }
                if let Some(read) = read {
                    next.extend(read.inner.into_iter().map(|(node, frame)| (at, node, frame)));
                    documents.push(read.document);
                    trees.push(read.tree);
                }
            }
            open = next;
        }

        let references = self.references();
        references.begin(&documents);
        let mut number = |frame: usize, node: i64, acts: bool| {
            let document = documents.get(frame).map(Arc::clone);
            document.map_or(0, |document| references.number(Referent { document, node }, acts))
        };
        let selection = Selection {
            start,
            max_chars: how.max_chars,
            interactive: how.interactive,
            depth: how.depth,
        };
        let outline = outline::print(&trees, selection, &mut number);
        let title = trees.first().map(Tree::title).unwrap_or_default();
        Ok(Snapshot { text: outline.text, left_out: outline.left_out, url: self.url(), title })
    }

    /// Takes the size of a document from a budget. Returns an error for a document whose
    /// tree would be too large.
    pub(super) async fn check_size(&self, frame: &Frame, budget: &Budget) -> Result<(), Miss> {
        let left = budget.left();
        let limits = [Value::Null, json!(left.elements), json!(left.text)];
        let answer = self.call_injected(frame, "size", &limits, &Found::default()).await?;
        let of = |name: &str| answer.value.get(name).and_then(Value::as_u64).unwrap_or_default();
        if budget.take(Size { elements: of("elements"), text: of("text") }) {
            self.contexts().measured(frame);
            return Ok(());
        }
        let reason = format!(
            "it is too large to be described, with more than {MOST_ELEMENTS} elements or \
             {MOST_TEXT} characters"
        );
        Err(Miss::Failed(PageError::Unfit { selector: "the page".to_owned(), reason }))
    }

    /// Reads an inner frame. None if it cannot be read before `end`, or is too large.
    async fn read_inner(&self, frame: &Frame, budget: &Budget, end: Instant) -> Option<Read> {
        let read = async {
            self.check_size(frame, budget).await?;
            self.read_frame(frame).await
        };
        timeout_at(end, read).await.ok().and_then(Result::ok)
    }

    async fn read_frame(&self, frame: &Frame) -> Result<Read, Miss> {
        let ask = |method, params| self.slow_call(&frame.session, method, params);
        // The browser answers in order: the tree is one of the document if both ends agree.
        let (before, tree, after) = tokio::join!(
            ask("Page.getFrameTree", json!({})),
            ask("Accessibility.getFullAXTree", json!({ "frameId": frame.id })),
            ask("Page.getFrameTree", json!({})),
        );
        let (before, mut tree, after) = (before?, tree?, after?);
        let loader = loader_of(&before, &frame.id).ok_or(Miss::Gone)?;
        if loader_of(&after, &frame.id).as_ref() != Some(&loader) {
            return Err(Miss::Gone);
        }
        let nodes = tree.get_mut("nodes").map(Value::take).unwrap_or_default();
        let nodes: Vec<AxNode> = serde_json::from_value(nodes).map_err(|error| {
            let method = "Accessibility.getFullAXTree".to_owned();
            Miss::Failed(PageError::Refused { method, message: error.to_string() })
        })?;
        let tree = Tree::new(nodes);
        let elements = tree.frames(0);
        let described = elements.iter().take(MOST_FRAMES).map(|node| {
            self.slow_call(&frame.session, "DOM.describeNode", json!({ "backendNodeId": node }))
        });
        let described = join_all(described).await;
        let inner = elements.iter().zip(described).filter_map(|(node, described)| {
            let described = described.ok()?;
            let id = described.pointer("/node/frameId").and_then(Value::as_str)?;
            Some((*node, self.inner_frame(frame, id)))
        });
        let inner = inner.collect();
        let document = Arc::new(Shown { frame: frame.clone(), loader });
        Ok(Read { document, tree, inner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_share_one_budget() {
        let budget = Budget::default();
        let half = Size { elements: MOST_ELEMENTS / 2 + 1, text: 1 };
        assert!(budget.take(half));
        assert!(!budget.take(half));
        assert!(!budget.take(Size { elements: 1, text: MOST_TEXT }));
        assert!(budget.take(Size { elements: 1, text: MOST_TEXT - 1 }));
        assert_eq!(budget.left().text, 0);
    }
}
