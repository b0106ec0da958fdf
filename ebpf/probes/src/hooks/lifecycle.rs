//! End of TCP connections.
//!
//! `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`,
//! `tcp_destroy_sock(struct sock *sk)`; both since before 5.15, both may run outside of any task.

use core::ffi::c_void;

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use weft_abi::{Direction, Stage};

use crate::{
    call::closed,
    connection,
    kernel::{self, load},
    task::jvm,
    tls,
};

const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_SENT: i32 = 2;
const TCP_FIN_WAIT1: i32 = 4;
const TCP_CLOSE: i32 = 7;
const TCP_LAST_ACK: i32 = 9;

/// This end sends no more: it was closed or shut down. One that is closed with bytes that nobody has read is gone at once;
/// where the other end's reset or a time limit does that, the socket has an error before.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let (sk, before, state): (*const c_void, i32, i32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    if state == TCP_SYN_SENT {
        jvm::connects(sk);
        return 0;
    }
    // SAFETY: `sk` is a hook's argument.
    let error = unsafe { load::<i32>(sk, &kernel::SOCK_ERR) };
    let at_once = state == TCP_CLOSE && before == TCP_ESTABLISHED && error == 0;
    if state == TCP_FIN_WAIT1 || state == TCP_LAST_ACK || at_once {
        ended(sk, false);
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
        || state.stage == Stage::Frames as u32
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
