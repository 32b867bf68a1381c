//! `mark_late`: tells the readings that came too late for every window.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;

use super::Rows;
use super::stash::Stash;
use super::watermark::state::everybodys;
use super::watermark::{Step, WatermarkRules};
use crate::record::Scored;
use crate::snapshot::Checkpoints;

/// The readings with `late` set by everybody's watermark at their position.
///
/// They come scored: nothing in a score depends on it, and meanwhile the watermark is found.
pub fn mark_late<'scope>(
    readings: Rows<'scope, Scored>,
    steps: Rows<'scope, Step>,
    rules: WatermarkRules,
    checkpoints: Option<&Checkpoints>,
) -> Rows<'scope, Scored> {
    let (mut waiting, mut ahead) = (Stash::<Scored>::default(), Stash::<Step>::default());
    // What the last step said is in the watermark's own state: there is nothing to hand over here.
    let mut out_of_reach = everybodys(checkpoints).map_or(i64::MIN, |found| found.reached.1);
    readings.binary_frontier::<_, CapacityContainerBuilder<Vec<Scored>>, _, _, _, _>(
        steps,
        Pipeline,
        Pipeline,
        "MarkLate",
        |_, _| {
            move |(readings, readings_frontier), (steps, steps_frontier), output| {
                waiting.fill(readings);
                ahead.fill(steps);
                // An epoch is complete when neither a reading nor a step can come for it.
                while let Some(time) = waiting.earliest().into_iter().chain(ahead.earliest()).min() {
                    if readings_frontier.less_equal(&time) || steps_frontier.less_equal(&time) {
                        break;
                    }
                    let mut due: Vec<Step> = Vec::new();
                    if ahead.earliest() == Some(time)
                        && let Some((_, steps)) = ahead.complete(steps_frontier)
                    {
                        due = steps.in_order(|a, b| a.position.cmp(&b.position));
                    }
                    let mut due = due.into_iter().peekable();
                    if waiting.earliest() == Some(time)
                        && let Some(([capability], readings)) = waiting.complete(readings_frontier)
                    {
                        let mut readings = readings.in_order(|a, b| a.reading.position.cmp(&b.reading.position));
                        for Scored { reading, .. } in &mut readings {
                            while let Some(step) = due.next_if(|step| step.position <= reading.position) {
                                out_of_reach = step.out_of_reach;
                            }
                            reading.late = rules.index(reading.timestamp) < out_of_reach;
                        }
                        output.session(&capability).give_container(&mut readings);
                    }
                    if let Some(step) = due.last() {
                        out_of_reach = step.out_of_reach;
                    }
                }
            }
        },
    )
}
