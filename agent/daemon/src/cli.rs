//! The command line. What it says wins over everything else.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use globset::GlobMatcher;
use log::LevelFilter;

use crate::config::{Config, DoorChoice, Environment, Error, Output, Text, UprobeChoice};

/// Traces programs on this machine without touching them: HTTP requests as OpenTelemetry spans,
/// linked into traces.
#[derive(Debug, Parser)]
#[command(name = "weft", version, after_long_help = EPILOGUE)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// What weft says about itself on standard error: off, error, warn, info, debug, trace.
    #[arg(long, global = true, env = "WEFT_LOG", value_name = "LEVEL", value_parser = read::<LevelFilter>)]
    pub(crate) log_level: Option<LevelFilter>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Traces the selected processes until stopped.
    Run(Box<Run>),
    /// Tells what this kernel and this host allow, which hook each capability will use, and what
    /// is off and why.
    Doctor(Doctor),
    /// Tells what weft sees of a process, of a pod's or of a service's: selected or not and by which rule,
    /// libraries, hooks, sockets, the reason for blindness and the fix.
    Why(Why),
    /// Tells whom the running agent traces, by which rule, and what it has seen and sent of them.
    Status(Status),
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) source: Source,

    /// Trace this process; may be repeated.
    #[arg(long, value_name = "N")]
    pid: Vec<u32>,

    /// Trace the servers that listen on this port; may be repeated.
    #[arg(long, value_name = "N")]
    port: Vec<u16>,

    /// Trace programs whose executable matches: with a `/` the whole path, without its last part;
    /// may be repeated.
    #[arg(long, value_name = "GLOB", value_parser = read::<GlobMatcher>)]
    exe: Vec<GlobMatcher>,

    /// Keep this request header as `http.request.header.<name>` (gRPC: metadata key, as
    /// `rpc.request.metadata.<name>`); may be repeated.
    #[arg(long, value_name = "NAME")]
    header: Vec<String>,

    /// Where spans go; may be repeated. Default: otlp when an endpoint is configured, else
    /// console.
    #[arg(long, value_name = "OUTPUT", value_enum)]
    output: Vec<Output>,

    /// End by itself after so many seconds.
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    duration: Option<Duration>,

    /// Check the configuration, print what is in effect, and end.
    #[arg(long)]
    pub(crate) check: bool,

    /// For tests: take this way into the kernel, not the best.
    #[arg(long, value_enum, hide = true)]
    door: Option<DoorChoice>,

    /// For tests: attach probes in user programs like this, not by the best way.
    #[arg(long, value_enum, hide = true)]
    uprobes: Option<UprobeChoice>,
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) source: Source,

    /// For tests: instructions the verifier walked, by program, instead of the table.
    #[arg(long, hide = true)]
    pub(crate) verifier: bool,

    /// For tests: take this way into the kernel, not the best.
    #[arg(long, value_enum, hide = true)]
    pub(crate) door: Option<DoorChoice>,

    /// For tests: attach probes in user programs like this, not by the best way.
    #[arg(long, value_enum, hide = true)]
    pub(crate) uprobes: Option<UprobeChoice>,
}

#[derive(Args, Debug)]
pub(crate) struct Why {
    #[command(flatten)]
    pub(crate) source: Source,

    /// Process id; name of a pod, or `namespace/name`; or name of a service.
    #[arg(value_name = "PID|POD|SERVICE")]
    pub(crate) target: String,

    /// One JSON object for each process.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) source: Source,

    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where the agent's file stands in its image.
const USUAL: &str = "/etc/weft/weft.yaml";

#[derive(Args, Debug)]
pub(crate) struct Source {
    /// YAML file; every key is explained in deploy/weft.yaml.
    #[arg(long, env = "WEFT_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

const EPILOGUE: &str = "\
Configuration: flags win over OTEL_* variables, those over the file, the file over defaults.
`weft run --check` prints the result.

Environment:
  OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL (grpc, http/protobuf), _HEADERS, _CERTIFICATE,
  _CLIENT_CERTIFICATE, _CLIENT_KEY, _TIMEOUT, _COMPRESSION (none, gzip); each also as
  OTEL_EXPORTER_OTLP_TRACES_...; OTEL_EXPORTER_OTLP_METRICS_ENDPOINT; OTEL_BSP_SCHEDULE_DELAY,
  _EXPORT_TIMEOUT, _MAX_QUEUE_SIZE, _MAX_EXPORT_BATCH_SIZE; OTEL_SERVICE_NAME;
  OTEL_RESOURCE_ATTRIBUTES; OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG; NO_COLOR; WEFT_LOG;
  WEFT_CONFIG

Exit codes:
  0  ended as it should
  1  failed otherwise
  2  wrong usage or configuration
  3  the kernel or the privileges do not allow it";

impl Run {
    /// Everything that has a say, merged and checked.
    pub(crate) fn config(
        &self,
        env: &Environment,
        log_level: Option<LevelFilter>,
    ) -> Result<Config, Error> {
        let Self {
            source,
            pid,
            port,
            exe,
            header,
            output,
            duration,
            check: _,
            door,
            uprobes,
        } = self;
        let mut config = source.config(env)?;
        replace(&mut config.selection.pids, pid);
        replace(&mut config.selection.ports, port);
        replace(&mut config.selection.exes, exe);
        replace(&mut config.http.headers, header);
        replace(&mut config.outputs, output);
        config.duration = duration.or(config.duration);
        config.kernel.door = door.or(config.kernel.door);
        config.kernel.uprobes = uprobes.or(config.kernel.uprobes);
        config.log_level = log_level.unwrap_or(config.log_level);
        config.resolve()
    }
}

impl Source {
    /// As [`Source::config`]; without a file the usual one, so that who asks a running agent finds it.
    pub(crate) fn of_running(&self, env: &Environment) -> Result<Config, Error> {
        let usual = Some(PathBuf::from(USUAL)).filter(|file| file.exists());
        Self {
            config: self.config.clone().or(usual),
        }
        .config(env)
    }

    /// Defaults, file and environment.
    pub(crate) fn config(&self, env: &Environment) -> Result<Config, Error> {
        let mut config = match &self.config {
            Some(path) => Config::from_file(path)?,
            None => Config::default(),
        };
        config.apply(env)?;
        Ok(config)
    }
}

/// A list on the command line takes the place of the file's.
fn replace<T: Clone>(list: &mut Vec<T>, given: &[T]) {
    if !given.is_empty() {
        *list = given.to_vec();
    }
}

fn read<T: Text>(text: &str) -> Result<T, String> {
    T::read(text)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let fault = || format!("`{text}` is no number of seconds");
    let seconds: f64 = text.parse().map_err(|_| fault())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| fault())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::config::Sampling;

    fn config(args: &[&str]) -> Config {
        let cli = Cli::try_parse_from([&["weft", "run"], args].concat()).unwrap();
        let Command::Run(run) = cli.command else {
            panic!("{cli:?}")
        };
        run.config(&Environment::default(), cli.log_level).unwrap()
    }

    #[test]
    fn flags_win() {
        Cli::command().debug_assert();
        let config = config(&[
            "--pid",
            "1",
            "--pid",
            "2",
            "--port",
            "80",
            "--exe",
            "python3*",
            "--header",
            "X-Tenant",
            "--output",
            "json",
            "--output",
            "otlp",
            "--duration",
            "1.5",
            "--log-level",
            "warn",
        ]);
        assert_eq!(config.selection.pids, [1, 2]);
        assert_eq!(config.selection.ports, [80]);
        assert_eq!(config.selection.exes[0].glob().glob(), "python3*");
        assert_eq!(config.http.headers, ["x-tenant"]);
        assert_eq!(config.outputs, [Output::Json, Output::Otlp]);
        assert_eq!(config.duration, Some(Duration::from_millis(1500)));
        assert_eq!(config.log_level, LevelFilter::Warn);
        assert_eq!(config.sampler, Sampling::default());
    }

    #[test]
    fn outputs() {
        assert_eq!(config(&[]).outputs, [Output::Console]);
        for wrong in [
            vec!["--output", "kafka"],
            vec!["--port", "70000"],
            vec!["--exe", "a["],
            vec!["--duration", "-1"],
            vec!["--nonsense"],
        ] {
            let error = Cli::try_parse_from([&["weft", "run"], wrong.as_slice()].concat());
            assert_eq!(error.unwrap_err().exit_code(), 2, "{wrong:?}");
        }
        let both = Cli::try_parse_from(["weft", "run", "--output", "json", "--output", "console"]);
        let Command::Run(run) = both.unwrap().command else {
            panic!()
        };
        assert!(run.config(&Environment::default(), None).is_err());
    }
}
