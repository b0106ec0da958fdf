//! Second door: return of the functions that every socket call passes, for kernels without the
//! tracepoints. `sock_sendmsg` is inlined into its callers, so sending is seen one layer below.
//!
//! Prototypes, checked on 6.1 and 6.12; the return value stands behind the last argument:
//! `int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)`,
//! `int tcp_sendpage(struct sock *sk, struct page *page, int offset, size_t size, int flags)` (to 6.4),
//! `int unix_stream_sendmsg(struct socket *sock, struct msghdr *msg, size_t len)`,
//! `int sock_recvmsg(struct socket *sock, struct msghdr *msg, int flags)`.

use core::ffi::c_void;

use aya_ebpf::{macros::fexit, programs::FExitContext};
use weft_abi::Direction;

use crate::{
    call::socket_call,
    kernel::{self, load},
    walk::Desk,
};

#[fexit(function = "tcp_sendmsg")]
fn tcp_sendmsg(ctx: FExitContext) -> i32 {
    socket_call(Desk::Send, ctx.arg(0), ctx.arg(3), 0, Direction::Tx);
    0
}

#[fexit(function = "tcp_sendpage")]
fn tcp_sendpage(ctx: FExitContext) -> i32 {
    socket_call(Desk::SendPage, ctx.arg(0), ctx.arg(5), 0, Direction::Tx);
    0
}

#[fexit(function = "unix_stream_sendmsg")]
fn unix_stream_sendmsg(ctx: FExitContext) -> i32 {
    socket_call(
        Desk::SendUnix,
        sock(ctx.arg(0)),
        ctx.arg(3),
        0,
        Direction::Tx,
    );
    0
}

#[fexit(function = "sock_recvmsg")]
fn sock_recvmsg(ctx: FExitContext) -> i32 {
    socket_call(
        Desk::Receive,
        sock(ctx.arg(0)),
        ctx.arg(3),
        ctx.arg(2),
        Direction::Rx,
    );
    0
}

#[inline(always)]
fn sock(socket: *const c_void) -> *const c_void {
    // SAFETY: a hook's argument.
    unsafe { load(socket, &kernel::SOCKET_SOCK) }
}
