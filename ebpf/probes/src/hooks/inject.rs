//! Writing `traceparent` into plaintext HTTP/1.
//!
//! `BPF_PROG_TYPE_SOCK_OPS` on the root of the control groups sees connections begin, which is the only
//! place where a socket may be put into a map of sockets; its first `RTT_CB` (Linux 5.3) comes with the
//! first acknowledgement, before anybody can read what came with it. `BPF_PROG_TYPE_SK_MSG` sees
//! what is sent on the sockets of that map, before TCP does. The tracepoints of `socket_tracepoints`, in
//! programs of their own, show what a thread works on when it sends.

use aya_ebpf::{
    macros::{btf_tracepoint, sk_msg, sock_ops},
    programs::{BtfTracePointContext, SkMsgContext, SockOpsContext},
};

use crate::inject;

/// `enum` without a name in `include/uapi/linux/bpf.h`.
const TCP_CONNECT_CB: u32 = 3;
const ACTIVE_ESTABLISHED_CB: u32 = 4;
const RETRANS_CB: u32 = 9;
const RTT_CB: u32 = 12;

#[sock_ops]
fn watch_connections(ctx: SockOpsContext) -> u32 {
    let op = ctx.op();
    if op == TCP_CONNECT_CB {
        inject::connects(ctx.ops);
    } else if op == ACTIVE_ESTABLISHED_CB {
        inject::connected(ctx.ops);
    } else if op == RETRANS_CB || op == RTT_CB {
        inject::over(ctx.ops);
    }
    1
}

#[sk_msg]
fn write_header(ctx: SkMsgContext) -> u32 {
    inject::sends(ctx.msg)
}

#[btf_tracepoint(function = "sock_recv_length")]
fn received_by_worker(ctx: BtfTracePointContext) -> i32 {
    inject::work::received(ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

#[btf_tracepoint(function = "sock_send_length")]
fn sent_by_worker(ctx: BtfTracePointContext) -> i32 {
    inject::work::sent(ctx.arg(0), ctx.arg(1));
    0
}
