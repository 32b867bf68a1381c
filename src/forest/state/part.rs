//! The state of a forest's trees one by one, as parts of the forest have them. In: a [`ForestPart`]; out: bytes for each tree that
//! has changed, and back.

use super::super::part::ForestPart;
use super::super::tree::Tree;
use super::{Kind, Reader, StateError, write_framed, write_number};

impl ForestPart {
    /// Gives `each` the index and the state of the trees that have taken a point since they were given to it the last time, so many of
    /// them at most; whether these were all. The next call goes on behind the last. All points must have been taken in.
    pub fn write_changed(&mut self, at_most: usize, mut each: impl FnMut(usize, Vec<u8>)) -> bool {
        let mut left = at_most;
        for _ in 0..self.trees.len() {
            let at = self.write_from % self.trees.len();
            let next = self.forest.trees[at].sampler.next();
            let (index, written) = self.trees[at];
            if next > 0 && written != Some(next) {
                if left == 0 {
                    return false;
                }
                left -= 1;
                self.trees[at].1 = Some(next);
                each(index, self.state_of(at));
            }
            self.write_from = at + 1;
        }
        true
    }

    /// Gives `each` the index and the state of every tree that has taken a point. All points must have been taken in.
    pub fn write_all(&self, mut each: impl FnMut(usize, Vec<u8>)) {
        for (at, (index, _)) in self.trees.iter().enumerate() {
            if self.forest.trees[at].sampler.next() > 0 {
                each(*index, self.state_of(at));
            }
        }
    }

    fn state_of(&self, at: usize) -> Vec<u8> {
        let parameters = self.forest.learned_with(at);
        let mut state = Vec::new();
        write_framed(Kind::Tree, &mut state, |out| {
            for parameter in parameters {
                write_number(parameter, out);
            }
            write_number(self.forest.seen, out);
            self.forest.trees[at].write(out);
        });
        state
    }

    /// Takes up the state of the tree with this index, which must be one of these, of the same key and, but for the scoring and the
    /// number of trees, of the same parameters.
    ///
    /// # Errors
    /// Bytes that no such tree was written as.
    pub fn read_tree(&mut self, index: usize, bytes: &[u8]) -> Result<(), StateError> {
        let at = self
            .trees
            .iter()
            .position(|(own, _)| *own == index)
            .ok_or(StateError::Other)?;
        let mut reader = Reader::framed(Kind::Tree, bytes)?;
        let parameters = self.forest.learned_with(at);
        for parameter in parameters {
            reader.same(parameter)?;
        }
        let seen = reader.count()?;
        let tree: &mut Tree = &mut self.forest.trees[at];
        if tree.sampler.next() > 0 {
            return Err(StateError::Damaged); // it is there twice
        }
        tree.read(seen, &mut reader)?;
        reader.end()?;
        self.trees[at].1 = Some(tree.sampler.next());
        // What it will be told with the next points, should it be written before they come.
        self.forest.seen = self.forest.seen.max(seen);
        Ok(())
    }

    /// Whether the trees can be what a forest has that has seen so many points: none is behind.
    ///
    /// # Errors
    /// A tree that is behind: its state is missing, or older than what the points were counted with.
    pub fn check(&self, seen: u64) -> Result<(), StateError> {
        match self.forest.trees.iter().all(|tree| tree.sampler.next() >= seen) {
            true => Ok(()),
            false => Err(StateError::Damaged),
        }
    }
}
