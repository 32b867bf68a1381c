//! Areas under the curves of a sweep. Readings of one score are one step: no order among them is made up.

use super::sweep::Step;

/// The area under the receiver operating characteristic: the chance that a labelled reading scores higher than another one, a tie counting
/// half. `None` without readings of both kinds.
pub(super) fn roc(steps: &[Step], labelled: u64, others: u64) -> Option<f64> {
    if labelled == 0 || others == 0 {
        return None;
    }
    let (mut twice, mut before) = (0u128, (0u128, 0u128));
    for step in steps {
        let (hits, misses) = (u128::from(step.hits), u128::from(step.flagged - step.hits));
        twice += (misses - before.1) * (hits + before.0);
        before = (hits, misses);
    }
    Some(twice as f64 / (2.0 * labelled as f64 * others as f64))
}

/// The area under precision over recall as average precision: the precision at each step, weighted by the recall it adds.
/// `None` without labelled readings.
pub(super) fn precision_recall(steps: &[Step], labelled: u64) -> Option<f64> {
    if labelled == 0 {
        return None;
    }
    let (mut sum, mut before) = (0.0, 0);
    for step in steps {
        sum += f64::from(step.hits - before) * (f64::from(step.hits) / f64::from(step.flagged));
        before = step.hits;
    }
    Some(sum / labelled as f64)
}
