//! Where the workers' time goes: seconds in each operator, by its name, from timely's own log.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
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
    names: HashMap<usize, String>,
    /// Operators that run now, the innermost last: an enclosing scope does not count what runs inside it.
    running: Vec<(usize, Duration, Duration)>,
    seconds: BTreeMap<String, f64>,
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
        self.account.borrow().seconds.clone()
    }
}

impl Account {
    fn take(&mut self, at: Duration, event: TimelyEvent) {
        match event {
            TimelyEvent::Operates(operator) => {
                self.names.insert(operator.id, operator.name);
            }
            TimelyEvent::Schedule(schedule) => match schedule.start_stop {
                StartStop::Start => self.running.push((schedule.id, at, Duration::ZERO)),
                StartStop::Stop => self.stop(at),
            },
            _ => {}
        }
    }

    fn stop(&mut self, at: Duration) {
        let Some((id, since, inside)) = self.running.pop() else {
            return;
        };
        let whole = at.saturating_sub(since);
        if let Some((_, _, inside)) = self.running.last_mut() {
            *inside += whole;
        }
        let own = whole.saturating_sub(inside).as_secs_f64();
        let name = self.names.get(&id).map_or("unnamed", String::as_str);
        *self.seconds.entry(name.to_owned()).or_default() += own;
    }
}
