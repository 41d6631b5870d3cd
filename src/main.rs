//! The binary: the sample domain handed to the command line. A service with aggregates of its own has a `main` like this.

use std::process::ExitCode;

use hapax::cli::Program;
use hapax::samples::{Balances, service};

/// A processor lives on small, short-lived allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hapax::cli::run(Program::from(service()).with::<Balances>())
}
