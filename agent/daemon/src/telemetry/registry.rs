//! weft's own figures. Every name begins with `weft_`; counters end in `_total`.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// All figures of the agent. Cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    inner: Arc<Inner>,
}

/// A figure that only rises. Cloning shares it; adding is one relaxed atomic addition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicU64>);

/// All figures at one moment, by family name.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) families: BTreeMap<&'static str, Family>,
}

#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) kind: FigureKind,
    pub(crate) help: &'static str,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FigureKind {
    Counter,
    Gauge,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) labels: Labels,
    pub(crate) value: f64,
}

pub(crate) type Labels = Vec<(&'static str, String)>;

#[derive(Default)]
struct Inner {
    held: Mutex<Vec<Held>>,
    sources: Mutex<Vec<Source>>,
}

struct Held {
    name: &'static str,
    help: &'static str,
    kind: FigureKind,
    labels: Labels,
    value: Arc<AtomicU64>,
}

type Source = Box<dyn Fn(&mut Gathered) + Send + Sync>;

impl Registry {
    pub(crate) fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        Counter(self.hold(name, help, FigureKind::Counter, labels))
    }

    pub(crate) fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        Gauge(self.hold(name, help, FigureKind::Gauge, labels))
    }

    /// Figures that are asked for when somebody looks.
    pub(crate) fn source(&self, source: impl Fn(&mut Gathered) + Send + Sync + 'static) {
        lock(&self.inner.sources).push(Box::new(source));
    }

    pub(crate) fn gather(&self) -> Gathered {
        let mut gathered = Gathered::default();
        for held in lock(&self.inner.held).iter() {
            let value = held.value.load(Ordering::Relaxed) as f64;
            gathered.put(held.kind, held.name, held.help, held.labels.clone(), value);
        }
        for source in lock(&self.inner.sources).iter() {
            source(&mut gathered);
        }
        gathered
    }

    /// The figure of this name and these labels, made at the first call.
    fn hold(
        &self,
        name: &'static str,
        help: &'static str,
        kind: FigureKind,
        labels: &[(&'static str, &str)],
    ) -> Arc<AtomicU64> {
        let labels = owned(labels);
        let mut held = lock(&self.inner.held);
        if let Some(known) = held
            .iter()
            .find(|held| held.name == name && held.labels == labels)
        {
            return Arc::clone(&known.value);
        }
        let value = Arc::new(AtomicU64::new(0));
        held.push(Held {
            name,
            help,
            kind,
            labels,
            value: Arc::clone(&value),
        });
        value
    }
}

impl Gathered {
    pub(crate) fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.put(FigureKind::Counter, name, help, owned(labels), value);
    }

    pub(crate) fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.put(FigureKind::Gauge, name, help, owned(labels), value);
    }

    fn put(
        &mut self,
        kind: FigureKind,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        value: f64,
    ) {
        let new = || Family {
            kind,
            help,
            samples: Vec::new(),
        };
        self.families
            .entry(name)
            .or_insert_with(new)
            .samples
            .push(Sample { labels, value });
    }
}

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("gathered", &self.gather())
            .finish()
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

/// Figures stay readable when a thread died over them.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
