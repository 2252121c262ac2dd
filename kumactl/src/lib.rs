//! `kumactl`, the command line of the control plane: a client of its REST API. All kinds come from the registry.

pub mod cli;
pub mod client;
mod cmd;
pub mod config;
pub mod document;
pub mod output;
mod pipe;
pub mod template;
mod trust;
mod unreachable;
pub mod usage;
pub mod version;

use std::{ffi::OsString, io::Write, process::ExitCode};

/// Where a command writes: real streams in the program, buffers in tests.
pub struct Streams<'a> {
    /// Results.
    pub out: &'a mut (dyn Write + Send),
    /// Warnings and errors.
    pub err: &'a mut (dyn Write + Send),
    /// What the process would read.
    pub input: &'a mut (dyn std::io::Read + Send),
    /// The time that ages are counted from.
    pub now: jiff::Timestamp,
    /// The zone that dates are shown in.
    pub zone: jiff::tz::TimeZone,
    /// Whether results may have colours: they are for a terminal.
    pub colours: bool,
}

/// Runs a command line (program name first); the exit status is 0 or 1.
pub async fn run(args: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> ExitCode {
    let matches = match cli::parse(args) {
        Ok(matches) => matches,
        Err(stop) => {
            // A closed pipe is not worth an error of its own.
            let _ = streams.out.write_all(stop.out.as_bytes());
            let _ = streams.err.write_all(stop.err.as_bytes());
            return if stop.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let (mut out, mut err) = (pipe::Output::to(streams.out), pipe::Output::to(streams.err));
    let mut streams = Streams {
        out: &mut out,
        err: &mut err,
        input: streams.input,
        now: streams.now,
        zone: streams.zone.clone(),
        colours: streams.colours,
    };
    match cmd::run(&matches, &mut streams).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A problem document speaks for itself, whatever was being done.
            let problem = error.downcast_ref::<client::Problem>().filter(|p| !p.title.is_empty());
            let text = problem.map_or_else(|| format!("{error:#}"), ToString::to_string);
            let _ = writeln!(streams.err, "Error: {text}");
            ExitCode::FAILURE
        }
    }
}
