//! The state that a run of the program starts with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Entry;

/// A key and its value.
pub type KeyValue = (Box<[u8]>, Box<[u8]>);

/// The state at a commit, shared by all workers of a process; empty at the very first start.
#[derive(Default)]
pub struct Restored {
    operators: Mutex<HashMap<u8, Operator>>,
}

/// One operator's state, until every worker has taken what it needs of it.
struct Operator {
    entries: Arc<Vec<KeyValue>>,
    readers: usize,
}

impl Restored {
    /// Of entries without tombstones, each key once; every one of `workers` workers takes each operator's state once.
    pub(super) fn new(entries: impl Iterator<Item = Entry>, workers: usize) -> Restored {
        let mut operators: HashMap<u8, Vec<KeyValue>> = HashMap::new();
        for Entry { operator, key, value } in entries {
            if let Some(value) = value {
                operators.entry(operator).or_default().push((key, value));
            }
        }
        let operators = operators.into_iter().map(|(operator, entries)| {
            let entries = Arc::new(entries);
            let readers = workers;
            (operator, Operator { entries, readers })
        });
        Restored {
            operators: Mutex::new(operators.collect()),
        }
    }

    /// An operator's state; the last worker to ask frees the memory.
    pub fn take(&self, operator: u8) -> Arc<Vec<KeyValue>> {
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = operators.get_mut(&operator) else {
            return Arc::default();
        };
        found.readers = found.readers.saturating_sub(1);
        match found.readers {
            0 => operators
                .remove(&operator)
                .map(|found| found.entries)
                .unwrap_or_default(),
            _ => Arc::clone(&found.entries),
        }
    }

    /// An operator's state, looked at by another operator that draws something small from it; frees nothing.
    pub fn look(&self, operator: u8) -> Arc<Vec<KeyValue>> {
        let operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        operators
            .get(&operator)
            .map(|found| Arc::clone(&found.entries))
            .unwrap_or_default()
    }
}
