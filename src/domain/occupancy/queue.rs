//! The queue of waiters for an occupied session, served first come, first served.
//!
//! The queue contains no response channels and no timers: `T` is whatever the caller needs to
//! answer a waiter.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use super::Occupant;

/// A waiter's position in the queue: 1 is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuePosition(pub usize);

/// A waiter for an occupied session.
#[derive(Debug)]
pub struct Waiter<T> {
    /// The number that identifies this waiter within its queue.
    pub ticket: u64,
    /// The occupant that asks to begin.
    pub occupant: Occupant,
    /// The time until which it waits.
    pub until: DateTime<Utc>,
    /// The value that the caller needs to answer it.
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
    /// Creates a queue for at most `limit` waiters.
    pub fn new(limit: usize) -> Self {
        Self { waiters: VecDeque::new(), last_ticket: 0, limit }
    }

    /// Appends a waiter, and returns its ticket. A full queue returns `answer` instead.
    pub fn join(&mut self, occupant: Occupant, until: DateTime<Utc>, answer: T) -> Result<u64, T> {
        if self.waiters.len() >= self.limit {
            return Err(answer);
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.waiters.push_back(Waiter { ticket, occupant, until, answer });
        Ok(ticket)
    }

    /// Removes the waiter that has waited longest.
    pub fn take_first(&mut self) -> Option<Waiter<T>> {
        self.waiters.pop_front()
    }

    /// Removes the waiter with this ticket, at any position.
    pub fn leave(&mut self, ticket: u64) -> Option<Waiter<T>> {
        let index = self.waiters.iter().position(|waiter| waiter.ticket == ticket)?;
        self.waiters.remove(index)
    }

    /// Removes every waiter whose time is over at `now`.
    pub fn expire(&mut self, now: DateTime<Utc>) -> Vec<Waiter<T>> {
        let (over, waiting) = self.waiters.drain(..).partition(|waiter| waiter.until <= now);
        self.waiters = waiting;
        Vec::from_iter::<VecDeque<_>>(over)
    }

    /// Removes every waiter from the queue.
    pub fn clear(&mut self) -> Vec<Waiter<T>> {
        self.waiters.drain(..).collect()
    }

    /// Returns the earliest time at which a waiter stops waiting.
    pub fn next_deadline(&self) -> Option<DateTime<Utc>> {
        self.waiters.iter().map(|waiter| waiter.until).min()
    }

    /// Returns the waiters in order, with their positions.
    pub fn places(&self) -> impl Iterator<Item = (QueuePosition, &Waiter<T>)> {
        self.waiters.iter().enumerate().map(|(index, waiter)| (QueuePosition(index + 1), waiter))
    }

    /// Returns the number of waiters.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// True if the queue has no waiters.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }
}
