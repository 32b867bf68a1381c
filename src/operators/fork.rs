//! The shape of an operator with one input and two outputs, which timely has no ready constructor for.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{InputHandleCore, OutputBuilder, OutputBuilderSession};
use timely::progress::frontier::MutableAntichain;

use super::Rows;
use crate::source::Time;

/// An output of the running operator.
pub(super) type Output<'a, D> = OutputBuilderSession<'a, Time, CapacityContainerBuilder<Vec<D>>>;
/// The input of the running operator.
pub(super) type Input<D, P> = InputHandleCore<Time, Vec<D>, P>;

/// Runs `logic` whenever there is input or its frontier has moved; it answers on two outputs.
pub(super) fn fork<'scope, D, A, B, P, L>(
    rows: Rows<'scope, D>,
    pact: P,
    name: &str,
    logic: L,
) -> (Rows<'scope, A>, Rows<'scope, B>)
where
    D: 'static,
    A: Clone + 'static,
    B: Clone + 'static,
    P: ParallelizationContract<Time, Vec<D>>,
    L: FnMut(&mut Input<D, P::Puller>, &MutableAntichain<Time>, &mut Output<'_, A>, &mut Output<'_, B>) + 'static,
{
    fork_holding(rows, pact, name, |_capability| logic)
}

/// As [`fork`], where `make` makes the logic of the first output's capability.
pub(super) fn fork_holding<'scope, D, A, B, P, M, L>(
    rows: Rows<'scope, D>,
    pact: P,
    name: &str,
    make: M,
) -> (Rows<'scope, A>, Rows<'scope, B>)
where
    D: 'static,
    A: Clone + 'static,
    B: Clone + 'static,
    P: ParallelizationContract<Time, Vec<D>>,
    M: FnOnce(Capability<Time>) -> L,
    L: FnMut(&mut Input<D, P::Puller>, &MutableAntichain<Time>, &mut Output<'_, A>, &mut Output<'_, B>) + 'static,
{
    let mut builder = OperatorBuilder::new(name.to_owned(), rows.scope());
    let mut input = builder.new_input(rows, pact);
    let (first, first_rows) = builder.new_output();
    let (second, second_rows) = builder.new_output();
    let (mut first, mut second) = (OutputBuilder::from(first), OutputBuilder::from(second));
    builder.build(move |mut capabilities| {
        let mut logic = make(capabilities.swap_remove(0)); // one for each output
        move |frontiers| logic(&mut input, &frontiers[0], &mut first.activate(), &mut second.activate())
    });
    (first_rows, second_rows)
}
