//! First door: the tracepoints behind every socket call, in the caller's context.
//!
//! `include/trace/events/sock.h`, since Linux 6.3, checked on 6.12, 6.18 and 7.2:
//! `sock_send_length(struct sock *sk, int ret, int flags)`,
//! `sock_recv_length(struct sock *sk, int ret, int flags)`.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use weft_abi::Direction;

use crate::{call::socket_call, walk::Desk};

#[btf_tracepoint(function = "sock_send_length")]
fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    socket_call(Desk::Send, ctx.arg(0), ctx.arg(1), 0, Direction::Tx);
    0
}

#[btf_tracepoint(function = "sock_recv_length")]
fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    socket_call(
        Desk::Receive,
        ctx.arg(0),
        ctx.arg(1),
        ctx.arg(2),
        Direction::Rx,
    );
    0
}
