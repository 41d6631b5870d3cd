//! The program as it is shipped, on a real broker, while things break: processes are killed, disks fail, power goes,
//! files rot. After each fault it starts again, all clients retry everything, and the history is judged. Every family of
//! faults is a row of a table: runs, survived, lost.

#![cfg(feature = "cli")]

mod common;
#[path = "faults/program.rs"]
mod program;
#[path = "faults/clients.rs"]
mod clients;
#[path = "faults/judge.rs"]
mod judge;
#[path = "faults/strace.rs"]
mod strace;
#[path = "faults/stores.rs"]
mod stores;
#[path = "faults/crash_points.rs"]
mod crash_points;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/power_cuts.rs"]
mod power_cuts;
#[path = "faults/backup.rs"]
mod backup;
#[path = "faults/damage.rs"]
mod damage;
#[path = "faults/resources.rs"]
mod resources;
