//! What was met lately, by keyed hash: two generations of a map, of which the older goes when the younger is full.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, PoisonError},
};

/// Hashes keyed hashes by their first eight bytes: without the key, nobody can make two that fall together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    // The length of an array, which is the same for all.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map by keyed hash.
pub(super) type ByHash<V> = HashMap<[u8; 16], V, BuildHasherDefault<FirstBytes>>;

#[derive(Debug)]
struct Generations<V> {
    young: ByHash<V>,
    old: ByHash<V>,
}

/// Values that were put in or asked for lately: the last `half` of them at least, twice as many at most.
#[derive(Debug)]
pub(super) struct Recent<V> {
    generations: Mutex<Generations<V>>,
    half: usize,
}

impl<V: Copy> Recent<V> {
    pub(super) fn new(half: usize) -> Self {
        let generations = Generations { young: ByHash::default(), old: ByHash::default() };
        Self { generations: Mutex::new(generations), half }
    }

    pub(super) fn get(&self, hash: &[u8; 16]) -> Option<V> {
        // A poisoned lock guards plain values: they are whole.
        let mut all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = all.young.get(hash) {
            return Some(*value);
        }
        let value = *all.old.get(hash)?;
        self.put(&mut all, *hash, value);
        Some(value)
    }

    pub(super) fn insert(&self, hash: [u8; 16], value: V) {
        let mut all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(&mut all, hash, value);
    }

    fn put(&self, all: &mut Generations<V>, hash: [u8; 16], value: V) {
        if all.young.len() >= self.half && !all.young.contains_key(&hash) {
            std::mem::swap(&mut all.young, &mut all.old);
            // Its memory stays for the next generation.
            all.young.clear();
        }
        all.young.insert(hash, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> [u8; 16] {
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(number.to_le_bytes()) {
            *to = from;
        }
        out
    }

    #[test]
    fn the_last_ones_are_kept_and_those_that_are_asked_for_stay() {
        let recent = Recent::new(10);
        for number in 0..100 {
            recent.insert(hash(number), number);
            assert_eq!(recent.get(&hash(0)), Some(0), "asked for again and again");
            for last in number.saturating_sub(8)..=number {
                assert_eq!(recent.get(&hash(last)), Some(last));
            }
        }
        assert_eq!(recent.get(&hash(50)), None);
        recent.insert(hash(99), 7);
        assert_eq!(recent.get(&hash(99)), Some(7), "the latest value stands");
    }

    #[test]
    fn no_more_than_two_generations_are_kept() {
        let recent = Recent::new(10);
        for number in 0..1_000 {
            recent.insert(hash(number), number);
            recent.get(&hash(number / 2));
            let all = recent.generations.lock().expect("whole");
            assert!(all.young.len() <= 10 && all.old.len() <= 10);
        }
    }
}
