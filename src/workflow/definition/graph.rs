//! The order of blocks.
//!
//! Invariants of a level (the top, or the body of a loop) of a version 2 definition: there is one
//! first block, every block can be reached from it, and no block can be reached from itself.

use std::collections::{HashMap, HashSet};

use super::block::{Block, Kind};

/// An error in the order of a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderFault {
    /// The index of the block in its level.
    pub block: usize,
    /// The name of the wrong field.
    pub field: &'static str,
    /// The stable code for programs.
    pub code: &'static str,
    /// The description, one sentence.
    pub message: String,
}

/// Returns the block that follows `blocks[index]` if no branch is chosen; never the `finally` block.
pub fn follows<'a>(blocks: &'a [Block], index: usize, finally: Option<&str>) -> Option<&'a str> {
    let block = blocks.get(index)?;
    if let Some(next) = &block.next {
        return Some(next.as_str()).filter(|next| Some(*next) != finally);
    }
    let branches = blocks.iter().any(|block| matches!(block.kind, Kind::Conditional(_)));
    if branches {
        return None;
    }
    let rest = blocks.get(index + 1..).unwrap_or_default();
    rest.iter().map(|block| block.label.as_str()).find(|label| Some(*label) != finally)
}

/// Returns every block that may follow `blocks[index]`.
fn successors<'a>(blocks: &'a [Block], index: usize, finally: Option<&str>) -> Vec<&'a str> {
    let mut all: Vec<&str> = follows(blocks, index, finally).into_iter().collect();
    if let Some(Kind::Conditional(conditional)) = blocks.get(index).map(|block| &block.kind) {
        let branches = conditional.branch_conditions.iter();
        all.extend(branches.filter_map(|branch| branch.next_block_label.as_deref()));
    }
    all.retain(|label| Some(*label) != finally);
    all
}

/// Returns the index of the first block of a level.
pub fn root(blocks: &[Block], finally: Option<&str>) -> Option<usize> {
    let targets: HashSet<&str> =
        (0..blocks.len()).flat_map(|index| successors(blocks, index, finally)).collect();
    let mut indices = blocks.iter().enumerate();
    indices
        .find(|(_index, block)| {
            Some(block.label.as_str()) != finally && !targets.contains(block.label.as_str())
        })
        .map(|(index, _block)| index)
}

/// Checks a level of a version 2 definition.
pub fn check(blocks: &[Block], finally: Option<&str>) -> Vec<OrderFault> {
    let mut faults = Vec::new();
    let places: HashMap<&str, usize> =
        blocks.iter().enumerate().map(|(index, block)| (block.label.as_str(), index)).collect();
    let fault = |block, field, code, message| OrderFault { block, field, code, message };

    for (index, block) in blocks.iter().enumerate() {
        for next in successors(blocks, index, finally) {
            if !places.contains_key(next) {
                let branch = block.next.as_deref() != Some(next);
                let field = if branch { "branch_conditions" } else { "next_block_label" };
                let message = format!("there is no block `{next}` on this level");
                faults.push(fault(index, field, "next_block_unknown", message));
            }
        }
    }
    if !faults.is_empty() {
        return faults;
    }

    let body: Vec<usize> = (0..blocks.len())
        .filter(|index| blocks.get(*index).map(|block| block.label.as_str()) != finally)
        .collect();
    let edges: HashMap<usize, Vec<usize>> = body
        .iter()
        .map(|index| {
            let targets = successors(blocks, *index, finally);
            (*index, targets.iter().filter_map(|label| places.get(label).copied()).collect())
        })
        .collect();
    let targets: HashSet<usize> = edges.values().flatten().copied().collect();
    let roots: Vec<usize> = body.iter().copied().filter(|index| !targets.contains(index)).collect();
    let label = |index: usize| blocks.get(index).map_or("", |block| block.label.as_str());

    if let Some(index) = in_a_ring(&body, &edges) {
        let message = format!("`{}` can be reached from itself", label(index));
        faults.push(fault(index, "next_block_label", "next_block_cycle", message));
        return faults;
    }
    if let [first, others @ ..] = roots.as_slice() {
        for index in others {
            let message =
                format!("no block leads here, and the first block is `{}`", label(*first));
            faults.push(fault(*index, "next_block_label", "block_unreachable", message));
        }
    }
    faults
}

/// Returns a block that can be reached from itself. If there is none, and only one root, every block
/// can be reached.
fn in_a_ring(body: &[usize], edges: &HashMap<usize, Vec<usize>>) -> Option<usize> {
    let mut incoming: HashMap<usize, usize> = body.iter().map(|index| (*index, 0)).collect();
    for target in edges.values().flatten() {
        *incoming.entry(*target).or_default() += 1;
    }
    let mut free: Vec<usize> =
        body.iter().copied().filter(|index| incoming.get(index) == Some(&0)).collect();
    while let Some(index) = free.pop() {
        incoming.remove(&index);
        for target in edges.get(&index).into_iter().flatten() {
            if let Some(count) = incoming.get_mut(target) {
                *count -= 1;
                if *count == 0 {
                    free.push(*target);
                }
            }
        }
    }
    incoming.into_keys().min()
}
