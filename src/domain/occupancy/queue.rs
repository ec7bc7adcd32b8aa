//! Who waits for an occupied session, first come first served.
//!
//! The queue holds no answers and no timers: `T` is whatever the caller needs to answer a waiter.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use super::Occupant;

/// Where a waiter stands: 1 is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub usize);

/// One who waits.
#[derive(Debug)]
pub struct Waiter<T> {
    /// Tells this waiter from every other of the same queue.
    pub ticket: u64,
    /// Who would like to begin.
    pub occupant: Occupant,
    /// When it stops waiting.
    pub until: DateTime<Utc>,
    /// What is needed to answer it.
    pub answer: T,
}

/// A bounded queue of waiters.
#[derive(Debug)]
pub struct Queue<T> {
    waiters: VecDeque<Waiter<T>>,
    last_ticket: u64,
    limit: usize,
}

impl<T> Queue<T> {
    /// A queue for at most `limit` waiters.
    pub fn new(limit: usize) -> Self {
        Self { waiters: VecDeque::new(), last_ticket: 0, limit }
    }

    /// Takes the last place, and tells the waiter's ticket. A full queue gives `answer` back.
    pub fn join(&mut self, occupant: Occupant, until: DateTime<Utc>, answer: T) -> Result<u64, T> {
        if self.waiters.len() >= self.limit {
            return Err(answer);
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.waiters.push_back(Waiter { ticket, occupant, until, answer });
        Ok(ticket)
    }

    /// Takes out who has waited longest.
    pub fn take_first(&mut self) -> Option<Waiter<T>> {
        self.waiters.pop_front()
    }

    /// Takes one out, wherever it stands.
    pub fn leave(&mut self, ticket: u64) -> Option<Waiter<T>> {
        let index = self.waiters.iter().position(|waiter| waiter.ticket == ticket)?;
        self.waiters.remove(index)
    }

    /// Takes out everybody whose time is over at `now`.
    pub fn expire(&mut self, now: DateTime<Utc>) -> Vec<Waiter<T>> {
        let (over, waiting) = self.waiters.drain(..).partition(|waiter| waiter.until <= now);
        self.waiters = waiting;
        Vec::from_iter::<VecDeque<_>>(over)
    }

    /// Takes everybody out.
    pub fn clear(&mut self) -> Vec<Waiter<T>> {
        self.waiters.drain(..).collect()
    }

    /// When the next one stops waiting.
    pub fn next_deadline(&self) -> Option<DateTime<Utc>> {
        self.waiters.iter().map(|waiter| waiter.until).min()
    }

    /// Everybody in order, with their places.
    pub fn places(&self) -> impl Iterator<Item = (Place, &Waiter<T>)> {
        self.waiters.iter().enumerate().map(|(index, waiter)| (Place(index + 1), waiter))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }
}
