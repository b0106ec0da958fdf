//! Kernel side of weft. Every hook is a few lines that bring a socket or a task in front of shared
//! code: `call` decides what a socket call is worth, `caller` finds its bytes in the user's memory,
//! `emit` writes records, `tls` knows sessions and proves their sockets, `task` asks runtimes what runs
//! on the thread. Nothing here writes to user memory; what a program sends is changed by `inject` alone, and only when told to.
#![no_std]
#![no_main]

mod call;
mod caller;
mod connection;
mod emit;
mod frames;
mod hooks;
mod inject;
mod kernel;
mod maps;
mod select;
mod sniff;
mod task;
mod tls;
mod walk;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers used here are for programs under the GPL; the code itself is Apache-2.0 as well.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
