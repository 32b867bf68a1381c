//! Timely's timestamp here: an epoch, numbered within its commit.
//!
//! An epoch is a sealed stretch of the input; a commit is a run of epochs whose results become visible
//! together. The commit's number stands in the upper half, so that every operator knows from the time
//! alone which commit a row belongs to.

/// An epoch of a commit: ordered as the input is.
pub type Time = u64;

/// The `epoch`-th epoch of the `commit`-th commit, both from 0.
pub fn time_of(commit: u32, epoch: u32) -> Time {
    u64::from(commit) << 32 | u64::from(epoch)
}

/// The commit that an epoch belongs to.
pub fn commit_of(time: Time) -> u32 {
    (time >> 32) as u32
}

/// The last time that a commit can have.
pub fn end_of_commit(commit: u32) -> Time {
    time_of(commit, u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_order_by_commit_and_then_by_epoch() {
        assert!(time_of(0, 7) < end_of_commit(0));
        assert!(end_of_commit(0) < time_of(1, 0));
        assert_eq!(commit_of(time_of(3, 9)), 3);
        assert_eq!(commit_of(end_of_commit(3)), 3);
    }
}
