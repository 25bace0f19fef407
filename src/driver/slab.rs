//! The table of connections: slots that are used again, names that are not, and who wants to be served or flushed.
//!
//! A [`ConnId`] is a slot's index and its generation. The generation moves on when a connection leaves its slot, so that
//! an id, a timer or a mark that outlives its connection finds nobody, and never the next owner of the slot. Readiness is
//! told by the index alone; it is noted before anything is handled, so that it too can only mean who is there.
//!
//! Two queues belong to the table: `ready`, whom the event loop serves next, and `dirty`, whose output it flushes at the end
//! of the turn. A connection is in each at most once: the mark that says so lies in its slot, and is set and cleared only
//! here, together with the queue.

use std::collections::VecDeque;
use std::io;

use slab::Slab;

use super::conn::{Conn, PendingConn};
use super::system::Readiness;
use crate::id::ConnId;

/// Connections by name; `T` is [`Conn`] except in tests.
#[derive(Debug)]
pub(super) struct ConnSlab<T = Conn> {
    slots: Slab<Slot<T>>,
    /// The next generation of each slot.
    generations: Vec<u32>,
    queues: Queues,
    /// Connections of which the protocol knows.
    opened: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    marks: Marks,
    conn: T,
}

impl<T> Slot<T> {
    /// Does the name mean whoever is here now? The only place where generations are compared.
    #[inline]
    fn is(&self, id: ConnId) -> bool {
        self.generation == id.generation()
    }

    /// The name of who is here. Nobody got a slot whose index is no `u32`.
    #[inline]
    fn id(&self, key: usize) -> Option<ConnId> {
        Some(ConnId::new(u32::try_from(key).ok()?, self.generation))
    }
}

/// In which queues a connection is.
#[derive(Debug, Default)]
struct Marks {
    ready: bool,
    dirty: bool,
}

#[derive(Debug, Default)]
struct Queues {
    ready: VecDeque<ConnId>,
    dirty: VecDeque<ConnId>,
}

/// A connection with its place in the queues: one look-up for both.
#[derive(Debug)]
pub(super) struct Entry<'a, T = Conn> {
    pub(super) conn: &'a mut T,
    id: ConnId,
    marks: &'a mut Marks,
    queues: &'a mut Queues,
}

impl<T> Entry<'_, T> {
    /// Puts the connection among those to serve.
    #[inline]
    pub(super) fn mark_ready(&mut self) {
        if !self.marks.ready {
            self.marks.ready = true;
            self.queues.ready.push_back(self.id);
        }
    }

    /// Puts the connection among those to flush.
    #[inline]
    pub(super) fn mark_dirty(&mut self) {
        if !self.marks.dirty {
            self.marks.dirty = true;
            self.queues.dirty.push_back(self.id);
        }
    }
}

impl<T> Default for ConnSlab<T> {
    fn default() -> Self {
        ConnSlab { slots: Slab::new(), generations: Vec::new(), queues: Queues::default(), opened: 0 }
    }
}

impl<T> ConnSlab<T> {
    /// How many connections there are, those included that the protocol does not know.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    #[inline]
    pub(super) fn get(&self, id: ConnId) -> Option<&T> {
        self.slots.get(id.index() as usize).filter(|slot| slot.is(id)).map(|slot| &slot.conn)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        self.entry(id).map(|entry| entry.conn)
    }

    /// The connection with its place in the queues.
    #[inline]
    pub(super) fn entry(&mut self, id: ConnId) -> Option<Entry<'_, T>> {
        let slot = self.slots.get_mut(id.index() as usize).filter(|slot| slot.is(id))?;
        Some(Entry { conn: &mut slot.conn, id, marks: &mut slot.marks, queues: &mut self.queues })
    }

    /// The connection, if it is among those to flush: whoever queues something for it has nothing to mark.
    #[inline]
    pub(super) fn dirty_mut(&mut self, id: ConnId) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index() as usize).filter(|slot| slot.is(id) && slot.marks.dirty)?;
        Some(&mut slot.conn)
    }

    /// Every connection, in the order of the slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.slots.iter().filter_map(|(key, slot)| Some((slot.id(key)?, &slot.conn)))
    }

    /// Gives a connection a slot. `register` makes the slot's index the token of its readiness.
    ///
    /// # Errors
    ///
    /// That of `register`; then there is no connection.
    pub(super) fn insert(
        &mut self,
        mut conn: T,
        register: impl FnOnce(&mut T, usize) -> io::Result<()>,
    ) -> io::Result<ConnId> {
        let entry = self.slots.vacant_entry();
        let key = entry.key();
        let index = u32::try_from(key).map_err(io::Error::other)?;
        register(&mut conn, key)?;
        if self.generations.len() <= key {
            self.generations.resize(key + 1, 0);
        }
        let generation = self.generations.get(key).copied().unwrap_or_default();
        entry.insert(Slot { generation, marks: Marks::default(), conn });
        Ok(ConnId::new(index, generation))
    }

    /// Takes a connection out; its name is nobody's from here on.
    fn take(&mut self, id: ConnId) -> Option<T> {
        let key = id.index() as usize;
        self.slots.get(key).filter(|slot| slot.is(id))?;
        let slot = self.slots.try_remove(key)?;
        debug_assert_eq!(self.generations.get(key), Some(&slot.generation), "a slot has the generation that was next");
        if let Some(generation) = self.generations.get_mut(key) {
            *generation = generation.wrapping_add(1);
        }
        Some(slot.conn)
    }

    /// Puts the connection among those to serve, if there is one of that name.
    pub(super) fn mark_ready(&mut self, id: ConnId) {
        if let Some(mut entry) = self.entry(id) {
            entry.mark_ready();
        }
    }

    /// Puts the connection among those to flush, if there is one of that name.
    pub(super) fn mark_dirty(&mut self, id: ConnId) {
        if let Some(mut entry) = self.entry(id) {
            entry.mark_dirty();
        }
    }

    /// How many names wait to be served; some may be nobody's any more.
    pub(super) fn ready_len(&self) -> usize {
        self.queues.ready.len()
    }

    /// How many names wait to be flushed; some may be nobody's any more.
    pub(super) fn dirty_len(&self) -> usize {
        self.queues.dirty.len()
    }

    /// The next connection to serve. The name may be nobody's any more.
    pub(super) fn pop_ready(&mut self) -> Option<ConnId> {
        let id = self.queues.ready.pop_front()?;
        if let Some(entry) = self.entry(id) {
            debug_assert!(entry.marks.ready, "who is in the queue has the mark");
            entry.marks.ready = false;
        }
        Some(id)
    }

    /// The next connection to flush. The name may be nobody's any more.
    pub(super) fn pop_dirty(&mut self) -> Option<ConnId> {
        let id = self.queues.dirty.pop_front()?;
        if let Some(entry) = self.entry(id) {
            debug_assert!(entry.marks.dirty, "who is in the queue has the mark");
            entry.marks.dirty = false;
        }
        Some(id)
    }
}

impl ConnSlab<Conn> {
    /// Notes what a socket is ready for, by its token, and puts it among those to serve.
    #[inline]
    pub(super) fn note_readiness(&mut self, readiness: Readiness) {
        let Some(id) = self.slots.get(readiness.token).and_then(|slot| slot.id(readiness.token)) else { return };
        let Some(mut entry) = self.entry(id) else { return };
        entry.conn.flags.readable |= readiness.readable;
        entry.conn.flags.writable |= readiness.writable;
        entry.conn.flags.ended |= readiness.ended;
        entry.conn.flags.urgent |= readiness.urgent;
        entry.mark_ready();
    }

    /// Connections of which the protocol knows, those that drain included.
    pub(super) fn opened(&self) -> usize {
        self.opened
    }

    /// The protocol is about to know the connection. Answers what it was until now; `None` when it is gone.
    pub(super) fn open(&mut self, id: ConnId) -> Option<PendingConn> {
        let pending = self.get_mut(id)?.open()?;
        self.opened += 1;
        Some(pending)
    }

    /// Takes a connection out: the end of every life.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        let conn = self.take(id)?;
        if conn.pending.is_none() {
            debug_assert!(self.opened > 0, "who is known was counted");
            self.opened = self.opened.saturating_sub(1);
        }
        Some(conn)
    }
}

#[cfg(test)]
#[path = "slab_tests.rs"]
mod tests;
