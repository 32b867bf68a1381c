//! Runs the workers of this process on timely.

use std::any::Any;

use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::{Hooks, WorkerGuards};
use timely::execute::execute_from;
use timely::worker::Worker;
use timely::{CommunicationConfig, WorkerConfig};

use super::error::ClusterError;
use super::mesh::Mesh;
use super::topology::Topology;

type Communication = (Vec<AllocatorBuilder>, Box<dyn Any + Send>);

/// Runs `work` once on each worker of this process, then steps what dataflows it left until they are complete,
/// and gives what each local worker returned, in the order of their indexes.
///
/// Workers of other processes run theirs at the same time; the call returns when the local workers are done and
/// all they sent is delivered. A worker that cannot go on calls [`halt`](super::halt()): returning early would
/// leave the others waiting for it. For the same reason [`install_panic_hook`](super::install_panic_hook) must
/// have been called.
pub fn run<T, F>(topology: &Topology, mesh: Mesh, config: WorkerConfig, work: F) -> Result<Vec<T>, ClusterError>
where
    T: Send + 'static,
    F: Fn(&mut Worker) -> T + Send + Sync + 'static,
{
    let (builders, others) = communication(topology, mesh)?;
    execute_from(builders, others, config, work)
        .map(WorkerGuards::join)
        .map_err(not_started)?
        .into_iter()
        .enumerate()
        .map(|(index, result)| {
            // What it panicked with may quote data.
            result.map_err(|_| ClusterError::Workers(format!("worker {index} did not end in order")))
        })
        .collect()
}

/// One worker needs no channels, one process no bytes, several processes the sockets of the mesh.
fn communication(topology: &Topology, mesh: Mesh) -> Result<Communication, ClusterError> {
    let workers = topology.workers();
    match (topology.processes(), workers) {
        (1, 1) => CommunicationConfig::Thread.try_build().map_err(not_started),
        (1, _) => CommunicationConfig::Process(workers).try_build().map_err(not_started),
        _ => {
            let hooks = Hooks::default();
            let local = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), None);
            let (builders, guard) =
                initialize_networking_from_sockets(local, mesh.sockets, topology.process(), workers, hooks)
                    .map_err(|error| not_started(error.to_string()))?;
            let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
            Ok((builders, Box::new(guard)))
        }
    }
}

fn not_started(problem: String) -> ClusterError {
    ClusterError::Workers(format!("the workers cannot be started: {problem}"))
}
