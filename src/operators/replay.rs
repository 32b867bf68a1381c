//! For tests: runs operators over rows that are cut into epochs and dealt out to workers in any way.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;

use super::{Mark, Rows};
use crate::disk::memory::MemoryDisk;
use crate::snapshot::{Checkpoints, Run, Snapshots};
use crate::source::{Time, commit_of, time_of};

/// How rows, which are in the order of the source, come to the workers.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) workers: usize,
    /// Rows of the epochs, over and over.
    pub(super) epochs: Vec<usize>,
    /// Epochs of a commit.
    pub(super) commit: u32,
    /// The worker that reads a row, over and over.
    pub(super) owners: Vec<usize>,
    /// Rows of an epoch that a worker is given at once.
    pub(super) batch: usize,
    /// How often a worker works between two epochs, over and over.
    pub(super) steps: Vec<usize>,
}

impl Plan {
    /// One worker, epochs of one size.
    pub(super) fn one(epoch: usize) -> Plan {
        Plan {
            workers: 1,
            epochs: vec![epoch],
            commit: u32::MAX,
            owners: vec![0],
            batch: usize::MAX,
            steps: vec![1],
        }
    }

    /// One to three workers.
    pub(super) fn any() -> impl Strategy<Value = Plan> {
        let few = |most: usize| proptest::collection::vec(0..most, 1..9);
        (1usize..4, few(40), 1u32..5, few(3), 1usize..30, few(4)).prop_map(
            |(workers, mut epochs, commit, owners, batch, steps)| {
                epochs.push(1); // they must end
                Plan {
                    workers,
                    epochs,
                    commit,
                    owners: owners.into_iter().map(|owner| owner % workers).collect(),
                    batch,
                    steps,
                }
            },
        )
    }

    /// For each row its epoch's time and its worker; and the last time.
    fn deal(&self, rows: usize) -> (Vec<(Time, usize)>, Time) {
        let mut dealt = Vec::with_capacity(rows);
        let (mut epoch, mut sizes) = (0, self.epochs.iter().cycle());
        let mut left = *sizes.next().expect("a size");
        for row in 0..rows {
            while left == 0 {
                left = *sizes.next().expect("a cycle has no end");
                epoch += 1;
            }
            left -= 1;
            dealt.push((self.time(epoch), self.owners[row % self.owners.len()]));
        }
        (dealt, self.time(epoch))
    }

    /// How many rows there are up to the end of each commit that has any.
    pub(super) fn ends_of_commits(&self, rows: usize) -> BTreeMap<u32, usize> {
        let (dealt, _) = self.deal(rows);
        (1..)
            .zip(dealt)
            .map(|(rows, (time, _))| (commit_of(time), rows))
            .collect()
    }

    fn time(&self, epoch: u32) -> Time {
        time_of(epoch / self.commit, epoch % self.commit)
    }
}

/// Where the operators leave what they have seen on a worker.
pub(super) type Seen<R> = Rc<RefCell<Vec<R>>>;

/// Feeds `rows` to what `build` makes on each worker, and gives what all of them have seen, in no order.
///
/// `build` takes the rows, the end of the input and the place for what is seen.
pub(super) fn replay<D, R, B>(plan: Plan, rows: Vec<D>, build: B) -> Vec<R>
where
    D: Clone + Send + Sync + 'static,
    R: Send + 'static,
    B: for<'scope> Fn(Rows<'scope, D>, Rows<'scope, Mark>, Seen<R>) + Send + Sync + 'static,
{
    let (dealt, last) = plan.deal(rows.len());
    let mut epochs: Epochs<D> = BTreeMap::new();
    for ((time, owner), row) in dealt.into_iter().zip(rows) {
        epochs.entry(time).or_default().push((owner, row));
    }
    feed(plan, epochs, Some(last), build)
}

type Epochs<D> = BTreeMap<Time, Vec<(usize, D)>>;

/// Feeds epochs; the input ends with the one at `end`, if it does.
fn feed<D, R, B>(plan: Plan, epochs: Epochs<D>, end: Option<Time>, build: B) -> Vec<R>
where
    D: Clone + Send + Sync + 'static,
    R: Send + 'static,
    B: for<'scope> Fn(Rows<'scope, D>, Rows<'scope, Mark>, Seen<R>) + Send + Sync + 'static,
{
    let epochs = Arc::new(epochs);
    let guards = timely::execute(timely::Config::process(plan.workers), move |worker| {
        let seen = Seen::<R>::default();
        let mut rows = InputHandle::<Time, CapacityContainerBuilder<Vec<D>>>::new();
        let mut ends = InputHandle::<Time, CapacityContainerBuilder<Vec<Mark>>>::new();
        worker.dataflow::<Time, _, _>(|scope| {
            build(rows.to_stream(scope), ends.to_stream(scope), Rc::clone(&seen));
        });
        for ((time, dealt), steps) in epochs.iter().zip(plan.steps.iter().cycle()) {
            rows.advance_to(*time);
            ends.advance_to(*time);
            for (i, (_, row)) in dealt.iter().filter(|(owner, _)| *owner == worker.index()).enumerate() {
                rows.send(row.clone());
                if i % plan.batch == plan.batch - 1 {
                    rows.flush();
                }
            }
            if Some(*time) == end && worker.index() == plan.workers - 1 {
                ends.send(Mark::End);
            }
            rows.flush();
            (0..*steps).for_each(|_| _ = worker.step());
        }
        rows.close();
        ends.close();
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
        seen.take()
    });
    let guards = guards.expect("threads of this process");
    guards
        .join()
        .into_iter()
        .flat_map(|seen| seen.expect("a worker"))
        .collect()
}

/// A run of the program, from where the one before it has come to.
#[derive(Clone, Debug)]
pub(super) struct Life {
    plan: Plan,
    /// Its part of all rows.
    share: usize,
    /// Rows that it takes behind its last commit, before it dies: what comes of them is lost.
    lost: usize,
    /// Whether all its commits are about to end at any time.
    ends_soon: bool,
}

impl Life {
    /// One to four runs.
    pub(super) fn any() -> impl Strategy<Value = Vec<Life>> {
        let life = (Plan::any(), 0usize..10, 0usize..30, any::<bool>());
        let life = life.prop_map(|(plan, share, lost, ends_soon)| Life {
            plan,
            share,
            lost,
            ends_soon,
        });
        proptest::collection::vec(life, 1..5)
    }

    /// As [`any`](Life::any), where each worker is given its rows of an epoch at once.
    pub(super) fn any_in_order() -> impl Strategy<Value = Vec<Life>> {
        Life::any().prop_map(|mut lives| {
            lives.iter_mut().for_each(|life| life.plan.batch = usize::MAX);
            lives
        })
    }
}

/// As [`replay`], by several runs, each on its own number of workers, which hand the state on through files: what has been
/// committed of all of them. `is_committed` says whether something seen comes of the first so many rows alone.
pub(super) fn replay_lives<D, R, B>(
    lives: Vec<Life>,
    rows: Vec<D>,
    is_committed: impl Fn(&R, usize) -> bool,
    build: B,
) -> Vec<R>
where
    D: Clone + Send + Sync + 'static,
    R: Send + 'static,
    B: for<'scope> Fn(Rows<'scope, D>, Rows<'scope, Mark>, &Checkpoints, Seen<R>) + Send + Sync + 'static,
{
    let build = Arc::new(build);
    let snapshots = Snapshots::new(MemoryDisk::default(), "/state/snapshots".into());
    let (mut runs, mut first_commit, mut from, mut committed): (Vec<Run>, _, _, _) = (Vec::new(), 0, 0, Vec::new());
    let (all, count): (usize, _) = (lives.iter().map(|life| life.share).sum(), lives.len());
    for (number, life) in lives.into_iter().enumerate() {
        let Life { plan, share, lost, .. } = life;
        let is_last = number + 1 == count;
        let to = match is_last {
            true => rows.len(),
            false => from + (rows.len() * share).checked_div(all).unwrap_or(0),
        };
        let (dealt, last) = plan.deal(to - from);
        let shifted = |time: Time, by: u32| time_of(commit_of(time) + by, time as u32);
        let last = shifted(last, first_commit);
        let mut epochs: Epochs<D> = BTreeMap::new();
        for ((time, owner), row) in dealt.into_iter().zip(&rows[from..to]) {
            epochs
                .entry(shifted(time, first_commit))
                .or_default()
                .push((owner, row.clone()));
        }
        if is_last {
            epochs.entry(last).or_default(); // where the input ends
        }
        let behind = &rows[to..rows.len().min(to + lost)];
        for ((time, owner), row) in plan.deal(behind.len()).0.into_iter().zip(behind) {
            let time = shifted(time, commit_of(last) + 1);
            epochs.entry(time).or_default().push((owner, row.clone()));
        }
        let checkpoints = Checkpoints {
            first_commit,
            collected: Arc::default(),
            restored: Arc::new(snapshots.load(&runs, plan.workers).expect("whole")),
        };
        checkpoints.collected.ends_soon(life.ends_soon);
        let (collected, build) = (Arc::clone(&checkpoints.collected), Arc::clone(&build));
        let seen = feed(plan, epochs, is_last.then_some(last), move |rows, ends, seen| {
            build(rows, ends, &checkpoints, seen);
        });
        committed.extend(seen.into_iter().filter(|seen| is_last || is_committed(seen, to)));
        for commit in first_commit..=commit_of(last) {
            let run = snapshots
                .write(commit, collected.take_through(commit))
                .expect("written");
            runs.extend(run);
            if let Some(due) = Snapshots::<MemoryDisk>::due(&runs) {
                let merged = snapshots
                    .merge(commit, &runs[due.clone()], due.start == 0)
                    .expect("merged");
                runs.splice(due, merged);
            }
        }
        snapshots.remove_all_but(&runs).expect("removed");
        (first_commit, from) = (commit_of(last) + 1, to);
    }
    committed
}

#[test]
fn plans_deal_every_row_in_order() {
    let plan = Plan {
        workers: 2,
        epochs: vec![2, 0, 1],
        commit: 2,
        owners: vec![0, 1],
        batch: usize::MAX,
        steps: vec![0],
    };
    let (dealt, last) = plan.deal(4);
    assert_eq!(
        dealt,
        [
            (time_of(0, 0), 0),
            (time_of(0, 0), 1),
            (time_of(1, 0), 0),
            (time_of(1, 1), 1)
        ]
    );
    assert_eq!(commit_of(last), 1);
}
