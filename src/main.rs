//! The binary: the sample domain handed to the command line. A service with aggregates of its own has a `main` like this.

use std::process::ExitCode;

use hapax::Service;
use hapax::samples::{Account, Order};

fn main() -> ExitCode {
    hapax::cli::run(Service::new().with::<Account>().with::<Order>())
}
