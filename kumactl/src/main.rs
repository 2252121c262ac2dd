//! The `kumactl` program.

use std::{io::IsTerminal, process::ExitCode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // The one crypto library; it fails only if another one was chosen before, and nobody does.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    kumactl::run(
        std::env::args_os(),
        &mut kumactl::Streams {
            out: &mut std::io::stdout(),
            err: &mut std::io::stderr(),
            input: &mut std::io::stdin(),
            now: jiff::Timestamp::now(),
            zone: jiff::tz::TimeZone::system(),
            colours: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        },
    )
    .await
}
