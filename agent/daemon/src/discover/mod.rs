//! What is known about processes: from `/proc`, from their own environment, from the
//! configuration. Read at once when a process is first heard of, because many live shortly.

mod addresses;
mod container;
mod facts;
mod host;
mod name;
mod processes;
mod resource;
mod scan;

pub(crate) use addresses::OwnAddresses;
pub(crate) use container::Container;
#[cfg(test)]
pub(crate) use container::Place;
pub(crate) use facts::{ProcessFacts, resource_attributes};
pub(crate) use name::{NameSource, service_name};
pub(crate) use processes::{Described, Processes, Rules, build_resource};
pub(crate) use resource::{Resource, Value};
pub(crate) use scan::{cgroup_ids, cgroup_root, scan, unix_socket_inodes, unix_socket_inodes_of};
