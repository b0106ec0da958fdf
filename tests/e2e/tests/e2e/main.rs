//! weft on real programs, seen by a real OTLP receiver. One binary: the tests take turns on the machine.

mod bodies;
mod clients;
mod exact;
mod export;
mod faults;
mod grpc;
mod http2;
mod libraries;
mod life;
mod networks;
mod nodes;
mod policy;
mod programs;
mod propagation;
mod proxies;
mod tasks;
mod tls;
mod wire;
