//! `lookup`: a stream-table join. Rows meet the table as of their own epoch, then leave.
//!
//! The stream is never arranged. A row waits only until the table's frontier has passed its epoch; then it is
//! looked up with a cursor over the shared trace and sent on. Behind the rows the trace may compact.

use differential_dataflow::difference::Semigroup;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::cursor::cursor_list;
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::trace::{BatchCursor, Cursor, TraceReader};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;
use timely::progress::Antichain;

use super::stash::Stash;
use super::{DeviceKey, Rows};
use crate::record::{DeviceId, Known};
use crate::source::Time;

/// The device collection, arranged by device and shared by all who read it.
pub type DeviceTrace = TraceAgent<ValSpine<DeviceKey, Known, Time, isize>>;

/// Gives each row what `table` says of its device at the row's epoch, `None` where it knows no such device.
///
/// Rows must be where their device is ([`route_device`](super::route_device)), as the table's are; they leave in the order of
/// `position` within each epoch and worker.
pub fn lookup<'scope, R, K, P, L>(
    rows: Rows<'scope, R>,
    table: Arranged<'scope, DeviceTrace>,
    device: K,
    position: P,
    mut assign: L,
) -> Rows<'scope, R>
where
    R: Clone + 'static,
    K: Fn(&R) -> &DeviceId + 'static,
    P: Fn(&R) -> u64 + 'static,
    L: FnMut(&mut R, Option<&Known>) + 'static,
{
    let Arranged {
        stream: updates,
        mut trace,
    } = table;
    // This reader takes whole cursors only at the table's frontier, so merging may proceed freely.
    trace.set_physical_compaction(Antichain::new().borrow());
    let mut trace = Some(trace);
    let mut stash = Stash::<R>::default();

    rows.binary_frontier::<_, CapacityContainerBuilder<Vec<R>>, _, _, _, _>(
        updates,
        Pipeline,
        Pipeline,
        "Lookup",
        move |_, _| {
            move |(rows, rows_frontier), (updates, table_frontier), output| {
                stash.fill(rows);
                updates.for_each(|_, _| {}); // what it says is in the trace; only its frontier is of interest
                let Some(table) = trace.as_mut() else { return };

                while let Some(([capability], rows)) = stash.complete(table_frontier) {
                    let time = *capability.time();
                    let mut rows = rows.in_order(|a, b| position(a).cmp(&position(b)));
                    // One pass of the cursor, in the order of its keys, which is the order of their hashes.
                    let mut order: Vec<(u64, usize)> =
                        rows.iter().map(|row| device(row).stable_hash()).zip(0..).collect();
                    order.sort_unstable_by(|a, b| {
                        a.0.cmp(&b.0).then_with(|| device(&rows[a.1]).cmp(device(&rows[b.1])))
                    });
                    let order = order.into_iter().map(|(_, at)| at);
                    let batches = table
                        .batches_through(Antichain::new().borrow())
                        .expect("the upper bound of a whole trace is one of its batch boundaries");
                    let (mut cursor, storage) = cursor_list(batches);
                    let mut order = order.peekable();
                    while let Some(first) = order.peek() {
                        let key = DeviceKey(device(&rows[*first]).clone());
                        cursor.seek_key(&storage, &key);
                        let mut found = None;
                        if cursor.get_key(&storage) == Some(&key) {
                            cursor.rewind_vals(&storage);
                            while let Some(value) = cursor.get_val(&storage) {
                                let mut count = 0isize;
                                cursor.map_times(&storage, |at, diff| {
                                    if BatchCursor::<DeviceTrace>::owned_time(at) <= time {
                                        count.plus_equals(&BatchCursor::<DeviceTrace>::owned_diff(diff));
                                    }
                                });
                                if count > 0 {
                                    found = Some(value);
                                    break;
                                }
                                cursor.step_val(&storage);
                            }
                        }
                        while let Some(at) = order.next_if(|at| device(&rows[*at]) == &key.0) {
                            assign(&mut rows[at], found);
                        }
                    }
                    output.session(&capability).give_container(&mut rows);
                }

                // Epochs before both the rows to come and the earliest row that waits need not be told apart.
                let mut since = rows_frontier.frontier().to_owned();
                if let Some(earliest) = stash.earliest() {
                    since.insert(earliest);
                }
                if since.is_empty() {
                    trace = None; // lets the arrangement go when no more rows can come
                } else {
                    table.set_logical_compaction(since.borrow());
                }
            }
        },
    )
}
