//! Life of processes: a forked child is selected before it runs, and the agent hears of programs
//! before their first request.
//!
//! `sched_process_fork(struct task_struct *parent, struct task_struct *child)`,
//! `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`,
//! `sched_process_exit(struct task_struct *p, ...)`; all since before 5.15.

use core::ffi::c_void;

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use weft_abi::{Direction, ProcessRecord, RecordKind};

use crate::{
    emit, inject,
    kernel::{self, copy, load},
    maps::{PROCESSES, RUNTIMES},
    task::jvm,
};

#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: both are tasks.
    let (parent, child, thread) = unsafe {
        let child: *const c_void = ctx.arg(1);
        (
            load::<u32>(ctx.arg(0), &kernel::TASK_TGID),
            load::<u32>(child, &kernel::TASK_TGID),
            load::<u32>(child, &kernel::TASK_PID),
        )
    };
    if child != thread {
        jvm::begins(child, ctx.arg(1));
        return 0;
    }
    // SAFETY: plain values, read at once.
    if let Some(verdict) = unsafe { PROCESSES.get(parent) }.copied() {
        let _full = PROCESSES.insert(child, verdict, 0);
    }
    // SAFETY: as above.
    if let Some(runtime) = unsafe { RUNTIMES.get(parent) }.copied() {
        let _full = RUNTIMES.insert(child, runtime, 0);
    } else {
        let _absent = RUNTIMES.remove(child);
    }
    report(RecordKind::Fork, child, parent, ctx.arg(1));
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a task.
    let tgid = unsafe { load::<u32>(ctx.arg(0), &kernel::TASK_TGID) };
    let _absent = RUNTIMES.remove(tgid);
    inject::forget(tgid);
    report(RecordKind::Exec, tgid, 0, ctx.arg(0));
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a task.
    let (tgid, thread) = unsafe {
        (
            load::<u32>(ctx.arg(0), &kernel::TASK_TGID),
            load::<u32>(ctx.arg(0), &kernel::TASK_PID),
        )
    };
    if tgid == thread {
        let _absent = PROCESSES.remove(tgid);
        let _absent = RUNTIMES.remove(tgid);
        inject::forget(tgid);
        report(RecordKind::Exit, tgid, 0, ctx.arg(0));
    }
    0
}

#[inline(always)]
fn report(kind: RecordKind, tgid: u32, other: u32, task: *const c_void) {
    // SAFETY: the helper takes no argument.
    let now = unsafe { bpf_ktime_get_ns() };
    let record = ProcessRecord {
        header: emit::header(kind, Direction::Rx, 0, tgid, tgid, now),
        tgid,
        other,
        comm: copy(task, &kernel::TASK_COMM, [0; 16]),
    };
    if kind as u8 == RecordKind::Exec as u8 {
        emit::output_at_once(&record);
    } else {
        emit::output(&record);
    }
}
