//! The kernel side as the agent sees it: loading, attaching, reading records, writing the
//! selection and hints. The only module that knows aya.

mod capability;
mod control;
mod kernel_btf;
mod load;
mod offsets;
mod ring;

pub(crate) use capability::{Capability, State, capabilities};
pub(crate) use control::Selection;
pub(crate) use load::{Door, Error, Options, Probes};
