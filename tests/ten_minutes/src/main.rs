mod stock;

fn main() -> std::process::ExitCode {
    hapax::cli::run(stock::service())
}
