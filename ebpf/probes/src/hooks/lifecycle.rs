//! End of TCP connections.
//!
//! `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`,
//! `tcp_destroy_sock(struct sock *sk)`; both since before 5.15, both may run outside of any task.

use core::ffi::c_void;

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use weft_abi::{Direction, Stage};

use crate::{call::closed, connection, tls};

const TCP_FIN_WAIT1: i32 = 4;
const TCP_LAST_ACK: i32 = 9;

/// This end sends no more: it was closed or shut down.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let state: i32 = ctx.arg(2);
    if state == TCP_FIN_WAIT1 || state == TCP_LAST_ACK {
        ended(ctx.arg(0), false);
    }
    0
}

/// The socket is gone.
#[btf_tracepoint(function = "tcp_destroy_sock")]
fn tcp_destroy_sock(ctx: BtfTracePointContext) -> i32 {
    ended(ctx.arg(0), true);
    0
}

#[inline(always)]
fn ended(sk: *const c_void, last: bool) {
    let Some(state) = connection::get(sk) else {
        return;
    };
    let followed = state.stage == Stage::Fresh as u32
        || state.stage == Stage::Follow as u32
        || state.stage == Stage::Sniff as u32
        || state.stage == Stage::Secure as u32;
    tls::forget(state);
    if state.announced != 0 && (followed || last) {
        // SAFETY: the helper takes no argument.
        let now = unsafe { bpf_ktime_get_ns() };
        closed(state, Direction::Tx, last, state.tgid, 0, now);
    }
}
