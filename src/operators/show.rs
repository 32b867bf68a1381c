//! `show`: lets the board of a live run see the readings pass.

use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;

use super::Rows;
use crate::observe::Board;
use crate::record::Scored;

/// The readings unchanged; without a board there is nothing between.
pub fn show<'scope>(scored: Rows<'scope, Scored>, board: Option<Arc<Board>>) -> Rows<'scope, Scored> {
    let Some(board) = board else { return scored };
    scored.unary::<CapacityContainerBuilder<Vec<Scored>>, _, _, _>(Pipeline, "Show", move |_, _| {
        move |input, output| {
            input.for_each_stamp(|stamp, batches| {
                for batch in batches {
                    board.readings(batch);
                    output.session(&stamp).give_container(batch);
                }
            });
        }
    })
}
