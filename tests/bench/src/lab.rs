//! The place of the measurements: nginx that serves a small file, and weft beside it or not.

use std::cell::RefCell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use weft_e2e::{Weft, WeftCommand};
use weft_workloads::{Group, Running, Workloads, free_port, programs::Nginx};

use crate::samples::Samples;
use crate::sink::{Counts, Sink};
use crate::watch::cpu::Cpu;
use crate::watch::prometheus::OwnFigures;

pub(crate) struct Lab {
    pub(crate) workloads: Workloads,
    pub(crate) nginx: Running,
    starts: RefCell<Starts>,
}

/// Seconds of each start of weft.
#[derive(Clone, Default)]
pub(crate) struct Starts {
    /// To `weft: ready`.
    pub(crate) ready: Samples,
    /// CPU time of weft until then: hardly changed by others at work on the machine.
    pub(crate) cpu: Samples,
}

/// What runs beside the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    Weft(Sampler),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampler {
    All,
    OnePercent,
}

/// weft, nothing selected, and the receiver that it exports to.
pub(crate) struct Traced {
    pub(crate) sink: Sink,
    weft: Weft,
    metrics: SocketAddr,
    _config: ConfigFile,
}

/// Removed when dropped.
struct ConfigFile(PathBuf);

// === impl Lab ===

impl Lab {
    pub(crate) fn open() -> Result<Self> {
        let workloads = Workloads::ensure(&[Group::Web, Group::Load])?;
        let nginx = workloads.spawn(&Nginx::new())?;
        Ok(Self {
            workloads,
            nginx,
            starts: RefCell::default(),
        })
    }

    pub(crate) fn start(&self, beside: Beside) -> Result<Option<Traced>> {
        match beside {
            Beside::Nothing => Ok(None),
            Beside::Weft(sampler) => self.trace(sampler, None).map(Some),
        }
    }

    /// Starts weft and waits until it is ready; the receiver notes spans that hold `mark`.
    pub(crate) fn trace(&self, sampler: Sampler, mark: Option<&str>) -> Result<Traced> {
        let traced = Traced::start(sampler, mark)?;
        let cpu = Cpu::of(traced.pid())?.time();
        let mut starts = self.starts.borrow_mut();
        starts.ready.push(traced.weft.ready_after.as_secs_f64());
        starts.cpu.push(cpu.as_secs_f64());
        Ok(traced)
    }

    pub(crate) fn starts(&self) -> Starts {
        self.starts.borrow().clone()
    }
}

// === impl Traced ===

impl Traced {
    fn start(sampler: Sampler, mark: Option<&str>) -> Result<Self> {
        let sink = Sink::start(mark)?;
        let metrics =
            SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST.into())?));
        let config = ConfigFile::write(metrics)?;
        let command = WeftCommand::new(["run", "--output", "otlp", "--config"])?
            .arg(config.0.display().to_string())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        let command = match sampler {
            Sampler::All => command,
            Sampler::OnePercent => command
                .env("OTEL_TRACES_SAMPLER", "traceidratio")
                .env("OTEL_TRACES_SAMPLER_ARG", "0.01"),
        };
        Ok(Self {
            weft: command.start()?,
            sink,
            metrics,
            _config: config,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.weft.pid()
    }

    /// Empty where weft does not tell: what it loses is then not known, all else is.
    pub(crate) fn figures(&self) -> OwnFigures {
        OwnFigures::scrape(self.metrics).unwrap_or_else(|error| {
            eprintln!("    {error:#}");
            OwnFigures::default()
        })
    }

    /// Waits for what is still on its way to the receiver.
    pub(crate) fn settled(&mut self) -> Result<Counts> {
        self.sink.settled()
    }

    /// Ends weft, and gives the time that took.
    pub(crate) fn stop(self) -> Result<Duration> {
        let begun = Instant::now();
        self.weft.stop()?;
        Ok(begun.elapsed())
    }
}

// === impl ConfigFile ===

impl ConfigFile {
    fn write(metrics: SocketAddr) -> Result<Self> {
        let file = Self(std::env::temp_dir().join(format!("weft-bench-{}.yaml", metrics.port())));
        fs::write(&file.0, format!("metrics:\n  listen: \"{metrics}\"\n"))
            .with_context(|| format!("cannot write {}", file.0.display()))?;
        Ok(file)
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}
