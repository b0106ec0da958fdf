//! What is tried, and what each kernel is expected to do.

use std::fmt;

/// One row of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kernel {
    V6_1,
    V6_12,
    Newest,
}

/// How weft's data hook enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// `tp_btf` on the socket-length tracepoints.
    Tracepoints,
    /// `fexit` on the functions below the socket calls.
    Functions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// The smoke trace comes out whole.
    Trace,
    /// weft says that this kernel lacks the door and ends with exit code 3.
    Refusal,
}

// === impl Kernel ===

impl Kernel {
    pub(crate) const ALL: [Self; 3] = [Self::V6_1, Self::V6_12, Self::Newest];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        }
    }

    /// Debian suites that may carry it; the highest version of them is taken.
    pub(crate) fn suites(self) -> &'static [&'static str] {
        match self {
            Self::V6_1 => &["bookworm"],
            Self::V6_12 => &["trixie"],
            Self::Newest => &["trixie-backports", "forky", "sid"],
        }
    }

    /// The socket-length tracepoints came with 6.3.
    pub(crate) fn expects(self, door: Door) -> Expectation {
        match (self, door) {
            (Self::V6_1, Door::Tracepoints) => Expectation::Refusal,
            _ => Expectation::Trace,
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

// === impl Door ===

impl Door {
    pub(crate) const ALL: [Self; 2] = [Self::Tracepoints, Self::Functions];

    /// As `weft run --door` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tracepoints => "tracepoints",
            Self::Functions => "functions",
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}
