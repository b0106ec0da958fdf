//! What the kernel and weft itself say about the cost.

pub(crate) mod cpu;
pub(crate) mod empty;
pub(crate) mod kernel;
pub(crate) mod memory;
pub(crate) mod prometheus;
