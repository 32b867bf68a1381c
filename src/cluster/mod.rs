//! Workers and processes: from `-w`, `-n`, `-p`, `--hostfile` and `--spawn` to running timely workers, and to
//! the clean end of all of them.
//!
//! In: the flags ([`Flags`]), the cluster's secret ([`secret::load`]), a fingerprint of program and settings,
//! and the closure every worker runs. Out: the results of this process's workers ([`run`]), or one clear error.
//!
//! timely's own start-up trusts whoever connects first, waits without end and panics on a bogus connection. So
//! the sockets are connected here ([`connect`]): each end proves that it holds the secret and runs the same
//! thing, within a deadline, before timely sees a byte. And timely waits for ever for a worker that panicked:
//! [`halt`](halt()) and [`install_panic_hook`] end the whole process instead, and with it, by their lost connection, the
//! other processes.
//!
//! The handshake authenticates; it does not encrypt what follows. So the exchange stays on loopback unless told
//! otherwise ([`Flags::allow_remote`]).

mod control;
mod error;
mod execute;
mod halt;
mod handshake;
mod mesh;
pub mod secret;
mod signals;
mod spawn;
mod supervise;
#[cfg(test)]
mod tests;
mod topology;

pub use control::{BEAT, Hearer, Line, Lost, Speaker, connect_lines, halt_without};
pub use error::{ClusterError, Difference};
pub use execute::run;
pub use halt::{before_telling, before_the_end, halt, halt_with, install_panic_hook, told_by_supervisor};
pub use mesh::{Mesh, WELCOME_LIMIT, connect};
pub use secret::Secret;
pub use signals::Interrupted;
pub use spawn::{spawn, spawn_and_keep_up, spawned};
pub use topology::{Flags, Topology};
