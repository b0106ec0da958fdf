//! The built-in samplers of the OpenTelemetry specification (SDK, `TraceIdRatioBased` as of 1.45).

use weft_proto::trace_context::TraceId;

/// Bit of the trace flags that says that a trace is kept.
pub const SAMPLED: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    Always(Root),
    /// Follows the parent's sampled flag; the rule is for spans without a parent.
    ParentBased(Root),
}

/// How a span without regard to its parent is decided on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Root {
    On,
    Off,
    Ratio(Ratio),
}

/// Keeps traces whose random part, the last 56 bits of the trace id (W3C Trace Context level 2),
/// is at least this: the rejection threshold of the specification's consistent probability
/// sampling, so that agents and SDKs with the same ratio keep the same traces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    reject_below: u64,
}

const RANDOM_BITS: u32 = 56;

// === impl Sampler ===

impl Default for Sampler {
    fn default() -> Self {
        Self::ParentBased(Root::On)
    }
}

impl Sampler {
    /// `parent_flags`: the trace flags of the parent, when there is one.
    pub fn keeps(&self, trace_id: &TraceId, parent_flags: Option<u8>) -> bool {
        match (self, parent_flags) {
            (Self::ParentBased(_), Some(flags)) => flags & SAMPLED != 0,
            (Self::ParentBased(root) | Self::Always(root), _) => root.keeps(trace_id),
        }
    }
}

// === impl Root ===

impl Root {
    /// Traces are kept whose random part, the last 56 bits of the id, is not below.
    pub fn reject_below(&self) -> u64 {
        match self {
            Self::On => 0,
            Self::Off => 1 << RANDOM_BITS,
            Self::Ratio(ratio) => ratio.reject_below,
        }
    }

    pub fn keeps(&self, trace_id: &TraceId) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            Self::Ratio(ratio) => ratio.keeps(trace_id),
        }
    }
}

// === impl Ratio ===

impl Ratio {
    /// `None` unless `0 <= ratio <= 1`.
    pub fn new(ratio: f64) -> Option<Self> {
        let all = (1_u64 << RANDOM_BITS) as f64;
        (0.0..=1.0).contains(&ratio).then(|| Self {
            reject_below: ((1.0 - ratio) * all).round() as u64,
        })
    }

    pub fn keeps(&self, trace_id: &TraceId) -> bool {
        let TraceId([.., a, b, c, d, e, f, g]) = *trace_id;
        u64::from_be_bytes([0, a, b, c, d, e, f, g]) >= self.reject_below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(low: u64) -> TraceId {
        let mut bytes = [0xff; 16];
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        TraceId(bytes)
    }

    #[test]
    fn ratio_is_decided_on_the_low_56_bits() {
        let half = Ratio::new(0.5).unwrap();
        assert!(half.keeps(&id(0x0080_0000_0000_0000)));
        assert!(!half.keeps(&id(0xff7f_ffff_ffff_ffff)));
        assert!(Ratio::new(1.0).unwrap().keeps(&id(0)));
        assert!(!Ratio::new(0.0).unwrap().keeps(&id(u64::MAX)));
    }

    #[test]
    fn ratio_outside_of_its_range_is_refused() {
        for ratio in [-0.1, 1.1, f64::NAN] {
            assert_eq!(Ratio::new(ratio), None);
        }
    }

    #[test]
    fn parent_decides_only_when_asked_to() {
        let off = Sampler::ParentBased(Root::Off);
        assert!(off.keeps(&id(1), Some(SAMPLED)));
        assert!(!off.keeps(&id(1), Some(0)));
        assert!(!off.keeps(&id(1), None));
        assert!(Sampler::Always(Root::On).keeps(&id(1), Some(0)));
    }
}
