//! Where the workers' time goes: seconds in each operator, by its name, from timely's own log.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use timely::logging::{StartStop, TimelyEvent, TimelyEventBuilder};
use timely::worker::Worker;

/// One worker's account of its operators.
#[derive(Clone, Default)]
pub struct Stages {
    account: Rc<RefCell<Account>>,
}

#[derive(Default)]
struct Account {
    /// By timely's number of the operator: a few dozen, and no more come once the dataflow is built.
    operators: Vec<Operator>,
    /// Operators that run now, the innermost last: an enclosing scope does not count what runs inside it.
    running: Vec<(usize, Duration, Duration)>,
}

#[derive(Clone, Default)]
struct Operator {
    name: Option<String>,
    time: Duration,
}

impl Stages {
    /// Starts the account; before the worker's dataflows are built.
    pub fn watch(worker: &Worker) -> Stages {
        let stages = Stages::default();
        let account = Rc::clone(&stages.account);
        if let Some(mut register) = worker.log_register() {
            register.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
                let Some(events) = events else { return };
                let mut account = account.borrow_mut();
                events.drain(..).for_each(|(at, event)| account.take(at, event));
            });
        }
        stages
    }

    /// Seconds by operator so far.
    pub fn seconds(&self) -> BTreeMap<String, f64> {
        let mut seconds = BTreeMap::new();
        for Operator { name, time } in &self.account.borrow().operators {
            if *time > Duration::ZERO {
                let name = name.as_deref().unwrap_or("unnamed").to_owned();
                *seconds.entry(name).or_default() += time.as_secs_f64();
            }
        }
        seconds
    }
}

impl Account {
    fn take(&mut self, at: Duration, event: TimelyEvent) {
        match event {
            TimelyEvent::Operates(operator) => self.operator(operator.id).name = Some(operator.name),
            TimelyEvent::Schedule(schedule) => match schedule.start_stop {
                StartStop::Start => self.running.push((schedule.id, at, Duration::ZERO)),
                StartStop::Stop => self.stop(at),
            },
            _ => {}
        }
    }

    fn operator(&mut self, id: usize) -> &mut Operator {
        if self.operators.len() <= id {
            self.operators.resize(id + 1, Operator::default());
        }
        &mut self.operators[id]
    }

    fn stop(&mut self, at: Duration) {
        let Some((id, since, inside)) = self.running.pop() else {
            return;
        };
        let whole = at.saturating_sub(since);
        if let Some((_, _, inside)) = self.running.last_mut() {
            *inside += whole;
        }
        self.operator(id).time += whole.saturating_sub(inside);
    }
}
