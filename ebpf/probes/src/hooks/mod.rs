//! The hooks, one file for each family.

mod lifecycle;
mod process;
mod socket_fexit;
mod socket_tracepoints;
