//! Calls over HTTP/2: a request gets its stream when it is submitted, and is sent later with those of others.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use weft_abi::{DataFlags, Descent, Direction, RecordKind, StreamRecord};

use super::{
    ids::{current, running},
    now, process, thread,
};
use crate::{caller, emit};

/// Of a client's (RFC 9113 §5.1.1).
const FIRST_STREAM: i32 = 1;

/// `Http2Session::SubmitRequest` begins, which puts the stream's number to `stream`.
#[inline(always)]
pub(crate) fn submitting(session: u64, stream: u64) {
    let Some((_, tid)) = process() else {
        return;
    };
    if let Some(thread) = thread(tid)
        && let Some(running) = running(thread)
    {
        thread.submitter = current(thread, &running);
        thread.submits = session;
        thread.stream = stream;
    }
}

/// It returns.
#[inline(always)]
pub(crate) fn submitted() {
    let Some((_, tid)) = process() else {
        return;
    };
    let Some(thread) = thread(tid) else {
        return;
    };
    let writer = thread.submits;
    thread.submits = 0;
    let stream = caller::read::<i32>(thread.stream).unwrap_or(-1);
    if writer == 0 || stream <= 0 {
        return;
    }
    if stream == FIRST_STREAM {
        thread.flushes = writer;
    }
    let mut descent = thread.submitter;
    if thread.flushes == writer {
        descent = Descent::default();
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let time_ns = now();
    let flags = DataFlags::CONTEXT;
    let record = StreamRecord {
        header: emit::header(RecordKind::Stream, Direction::Tx, flags, tgid, tid, time_ns),
        writer,
        task: descent.root,
        task_ns: 0,
        descent,
        stream: stream as u32,
        reserved: 0,
    };
    emit::output(&record);
}

/// `Http2Session::SendPendingData` begins: what is sent until it returns are the session's frames.
#[inline(always)]
pub(crate) fn sending(session: u64) {
    if let Some((_, tid)) = process()
        && let Some(thread) = thread(tid)
    {
        thread.session = session;
    }
}

#[inline(always)]
pub(crate) fn sent() {
    sending(0);
}
