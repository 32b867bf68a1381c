//! `tap`: passes rows on untouched and draws something smaller from each on the way, so that no row is copied.

use timely::ContainerBuilder;
use timely::container::PushInto;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

use super::Rows;
use crate::source::Time;

/// The same rows, and what `draw` makes of each.
pub(super) fn tap<'scope, D, A, I, CB, L>(
    rows: Rows<'scope, D>,
    name: &str,
    mut draw: L,
) -> (Rows<'scope, D>, Stream<'scope, Time, CB::Container>)
where
    D: Clone + 'static,
    I: IntoIterator<Item = A>,
    CB: ContainerBuilder<Container: Clone> + PushInto<A>,
    L: FnMut(&D) -> I + 'static,
{
    let mut builder = OperatorBuilder::new(name.to_owned(), rows.scope());
    let mut input = builder.new_input(rows, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (passed, passed_rows) = builder.new_output::<Vec<D>>();
    let (drawn, drawn_rows) = builder.new_output::<CB::Container>();
    let mut passed = OutputBuilder::<Time, timely::container::CapacityContainerBuilder<Vec<D>>>::from(passed);
    let mut drawn = OutputBuilder::<Time, CB>::from(drawn);
    builder.build(move |_capabilities| {
        move |_frontiers| {
            let (mut passed, mut drawn) = (passed.activate(), drawn.activate());
            input.for_each_stamp(|stamp, batches| {
                let mut drawn = drawn.session_with_builder(&stamp);
                for batch in batches {
                    drawn.give_iterator(batch.iter().flat_map(&mut draw));
                    passed.session(&stamp).give_container(batch);
                }
            });
        }
    });
    (passed_rows, drawn_rows)
}
