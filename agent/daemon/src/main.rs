
#![expect(dead_code, reason = "being wired")]

mod config;
mod discover;
mod export;
mod telemetry;

fn main() {}
