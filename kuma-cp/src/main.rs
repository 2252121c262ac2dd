//! The executable: hands the command line to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    kuma_cp::cli::main(std::env::args_os())
}
