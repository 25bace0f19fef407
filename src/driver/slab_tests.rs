//! The table of connections against a naive one: a list in which nothing is ever used again.

use proptest::prelude::*;

use super::*;

fn insert(slab: &mut ConnSlab<u32>, value: u32) -> ConnId {
    slab.insert(value, |_, _| Ok(())).unwrap()
}

#[test]
fn a_name_that_outlives_its_connection_never_means_the_next_one_in_its_slot() {
    let mut slab = ConnSlab::default();
    let old = insert(&mut slab, 1);
    slab.mark_ready(old);
    slab.mark_dirty(old);
    assert_eq!(slab.take(old), Some(1));
    let new = insert(&mut slab, 2);
    assert_eq!(new.index(), old.index(), "the slot is used again");
    assert_eq!((slab.get(old), slab.get(new)), (None, Some(&2)));
    assert_eq!(slab.take(old), None);
    slab.mark_ready(old);
    // The old marks are still in the queues, and are nobody's.
    assert_eq!((slab.pop_ready(), slab.pop_dirty()), (Some(old), Some(old)));
    assert_eq!((slab.pop_ready(), slab.pop_dirty()), (None, None));
    slab.mark_ready(new);
    assert_eq!(slab.pop_ready(), Some(new), "the new one did not inherit a mark");
}

#[test]
fn a_connection_that_cannot_be_registered_takes_no_slot() {
    let mut slab = ConnSlab::default();
    let refused = slab.insert(1, |_, _| Err(io::Error::from(io::ErrorKind::OutOfMemory)));
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    assert!(slab.is_empty() && slab.iter().next().is_none());
    let mut token = None;
    let register = |_: &mut u32, key| {
        token = Some(key);
        Ok(())
    };
    let id = slab.insert(2, register).unwrap();
    assert_eq!(token, Some(id.index() as usize), "its readiness comes under the slot's index");
}

/// What may be done with the table; numbers choose among all names that there ever were.
#[derive(Clone, Debug)]
enum Move {
    Insert,
    Take(usize),
    Ready(usize),
    Dirty(usize),
    PopReady,
    PopDirty,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => Just(Move::Insert),
        2 => any::<usize>().prop_map(Move::Take),
        3 => any::<usize>().prop_map(Move::Ready),
        3 => any::<usize>().prop_map(Move::Dirty),
        2 => Just(Move::PopReady),
        2 => Just(Move::PopDirty),
    ];
    prop::collection::vec(one, 1..200)
}

/// A name, whether somebody has it, and in which queues it waits.
type Naive = Vec<(ConnId, bool)>;

/// Takes the first name out of a naive queue.
fn first(queue: &mut Vec<ConnId>) -> Option<ConnId> {
    if queue.is_empty() { None } else { Some(queue.remove(0)) }
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_list_in_which_nothing_is_used_again(moves in moves()) {
        let mut slab = ConnSlab::default();
        let mut names: Naive = Vec::new();
        let (mut ready, mut dirty) = (Vec::new(), Vec::new());
        for (number, step) in (0..).zip(moves) {
            let chosen = |n: usize| (!names.is_empty()).then(|| n % names.len());
            match step {
                Move::Insert => {
                    let id = insert(&mut slab, number);
                    prop_assert!(names.iter().all(|(other, _)| *other != id), "a name is given once");
                    names.push((id, true));
                }
                Move::Take(n) => {
                    let Some(n) = chosen(n) else { continue };
                    let (id, lives) = names[n];
                    prop_assert_eq!(slab.take(id).is_some(), lives);
                    names[n].1 = false;
                }
                Move::Ready(n) | Move::Dirty(n) => {
                    let Some(n) = chosen(n) else { continue };
                    let (id, lives) = names[n];
                    let is_ready = matches!(step, Move::Ready(_));
                    if is_ready { slab.mark_ready(id) } else { slab.mark_dirty(id) }
                    let queue = if is_ready { &mut ready } else { &mut dirty };
                    if lives && !queue.contains(&id) {
                        queue.push(id);
                    }
                }
                Move::PopReady => prop_assert_eq!(slab.pop_ready(), first(&mut ready)),
                Move::PopDirty => prop_assert_eq!(slab.pop_dirty(), first(&mut dirty)),
            }
            prop_assert_eq!((slab.ready_len(), slab.dirty_len()), (ready.len(), dirty.len()));
            prop_assert_eq!(slab.len(), names.iter().filter(|(_, lives)| *lives).count());
            for (id, lives) in &names {
                prop_assert_eq!(slab.get(*id).is_some(), *lives);
            }
            let mut listed: Vec<_> = slab.iter().map(|(id, _)| id).collect();
            listed.sort_unstable();
            let mut living: Vec<_> = names.iter().filter(|(_, lives)| *lives).map(|(id, _)| *id).collect();
            living.sort_unstable();
            prop_assert_eq!(listed, living);
        }
    }
}
