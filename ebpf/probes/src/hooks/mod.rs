//! The hooks, one file for each family.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a hook's signature is what aya's macros make of it"
)]

mod cpython;
mod go;
mod inject;
mod jvm;
mod lifecycle;
mod node;
mod process;
mod socket_fexit;
mod socket_tracepoints;
mod tls;
mod tokio;
