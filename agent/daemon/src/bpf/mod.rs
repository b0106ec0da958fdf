//! The kernel side as the agent sees it: loading, attaching, reading records, writing the
//! selection and hints. The only module that knows aya.

mod capability;
mod control;
mod door;
mod inject;
mod kernel_btf;
mod load;
mod mapping;
mod offsets;
mod ring;
mod sites;
mod user;

pub(crate) use capability::{Capability, State, capabilities, site_costs};
pub(crate) use control::Selection;
pub(crate) use door::Door;
pub(crate) use inject::Writing;
pub(crate) use load::{Error, Options, Probes};
pub(crate) use mapping::map_file;
pub(crate) use sites::SiteCosts;
pub(crate) use user::{Attached, Hook, Place, UserProbes, Way};
