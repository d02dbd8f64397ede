//! A dense array that grows by chunks, so that growing never copies what is there and never stalls a batch.

use std::ops::{Index, IndexMut};

/// Elements of a chunk.
const CHUNK: usize = 1024;

/// A vector in chunks of equal size.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// Elements held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends an element, at position [`Slab::len`].
    pub fn push(&mut self, element: T) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(element),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(element);
                self.chunks.push(chunk);
            }
        }
        self.len += 1;
    }

    /// Removes the element at `at` and puts the last one into its place.
    ///
    /// # Panics
    /// When there is none at `at`.
    pub fn swap_remove(&mut self, at: usize) -> T {
        let last = self.chunks.last_mut().and_then(Vec::pop).expect("a slab never keeps an empty chunk");
        if self.chunks.last().is_some_and(Vec::is_empty) {
            self.chunks.pop();
        }
        self.len -= 1;
        if at == self.len { last } else { std::mem::replace(&mut self[at], last) }
    }

    /// The elements in order of position.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> Index<usize> for Slab<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        &self.chunks[at / CHUNK][at % CHUNK]
    }
}

impl<T> IndexMut<usize> for Slab<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn it_does_what_a_vector_does(steps in prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), 0..4_000)) {
            let (mut slab, mut model) = (Slab::default(), Vec::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Some(at) if !model.is_empty() && number % 3 == 0 => {
                        let at = at.index(model.len());
                        prop_assert_eq!(slab.swap_remove(at), model.swap_remove(at));
                    }
                    _ => {
                        slab.push(number);
                        model.push(number);
                    }
                }
            }
            prop_assert_eq!(slab.len(), model.len());
            prop_assert!(slab.iter().eq(model.iter()));
        }
    }
}
