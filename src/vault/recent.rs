//! What was met not long ago. In: values by digest, as they are met. Out: the same, until so many others or so long a time has passed
//! without them: memory follows those who are there, not all who have ever been.
//!
//! Two generations: whatever is met moves to the young one; when that is full, or has grown for long enough, it becomes the old one,
//! and what is left in the one before it is forgotten.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::digest::{ByDigest, Digest};

/// What has not been met for this long is forgotten within as long again.
const STAY: Duration = Duration::from_secs(300);

pub(super) struct Recent<V> {
    young: HashMap<Digest, V, ByDigest>,
    old: HashMap<Digest, V, ByDigest>,
    /// Values that are kept at most.
    most: usize,
    /// When the young generation began.
    since: Instant,
}

impl<V> Recent<V> {
    /// At most so many, and at least half as many of those that were met last.
    pub(super) fn new(most: usize) -> Recent<V> {
        Recent {
            young: HashMap::default(),
            old: HashMap::default(),
            most: most.max(2),
            since: Instant::now(),
        }
    }

    /// A value that is still there; this counts as meeting it.
    pub(super) fn meet(&mut self, digest: Digest) -> Option<&mut V> {
        if !self.young.contains_key(&digest) {
            let value = self.old.remove(&digest)?;
            self.insert(digest, value);
        }
        self.young.get_mut(&digest)
    }

    /// Takes a value in.
    pub(super) fn insert(&mut self, digest: Digest, value: V) {
        if self.young.len() >= self.most / 2 || self.since.elapsed() >= STAY {
            self.turn();
        }
        self.young.insert(digest, value);
    }

    fn turn(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.since = Instant::now();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::digest::DigestSecret;
    use super::*;

    proptest! {
        #[test]
        fn those_met_last_are_there_and_there_are_never_too_many(
            most in 2usize..12, met in proptest::collection::vec((0u8..30, any::<bool>()), 0..200),
        ) {
            let secret = DigestSecret::random().expect("random bytes");
            let digest = |who: u8| secret.patient(&who.to_string());
            let mut recent = Recent::new(most);
            let mut order: Vec<u8> = Vec::new();
            for (who, turns) in met {
                if turns && who == 0 {
                    recent.turn(); // as time does, now and then
                    order.clear();
                }
                let last: HashSet<u8> = order.iter().rev().copied().scan(HashSet::new(), |seen, who| {
                    seen.insert(who);
                    (seen.len() <= most / 2).then_some(who)
                }).collect();
                match recent.meet(digest(who)) {
                    Some(value) => prop_assert_eq!(*value, who),
                    None => {
                        prop_assert!(!last.contains(&who), "{} was met not long ago", who);
                        recent.insert(digest(who), who);
                    }
                }
                order.push(who);
                prop_assert!(recent.len() <= most);
            }
        }
    }

    #[test]
    fn what_is_not_met_between_two_turns_is_forgotten() {
        let secret = DigestSecret::random().expect("random bytes");
        let [here, gone] = ["here", "gone"].map(|who| secret.patient(who));
        let mut recent = Recent::new(100);
        recent.insert(here, 1);
        recent.insert(gone, 2);
        recent.turn();
        assert_eq!(recent.meet(here), Some(&mut 1));
        recent.turn();
        assert_eq!(recent.meet(here), Some(&mut 1));
        assert_eq!(recent.meet(gone), None);
    }
}
