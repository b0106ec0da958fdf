//! Where a socket call's bytes stand in the user's memory: the system call's own arguments, which
//! the kernel saved when the task entered it.

use core::ffi::c_void;

use aya_ebpf::helpers::{
    bpf_get_current_task_btf, bpf_probe_read_user, generated::bpf_task_pt_regs,
};
use weft_abi::{Connection, Direction, Missing};

use crate::kernel::{self, ABSENT, load};

/// The user's side of a call. No `Result`: on Linux 6.1 and before the verifier refuses the load of a
/// field that only one of its variants has, which the compiler likes to do for both.
#[derive(Clone, Copy)]
pub(crate) struct Buffers {
    /// The buffer, or the array of `struct iovec`.
    pub(crate) address: u64,
    /// Entries of that array; 0: `address` is the buffer.
    pub(crate) vectors: u32,
    /// A [`Missing`]: why they are not known, if they are not.
    pub(crate) missing: u32,
}

impl Buffers {
    #[inline(always)]
    pub(crate) fn flat(address: u64) -> Self {
        Self {
            address,
            vectors: 0,
            missing: Missing::None as u32,
        }
    }

    #[inline(always)]
    pub(crate) fn missing(why: Missing) -> Self {
        Self {
            address: 0,
            vectors: 0,
            missing: why as u32,
        }
    }

    /// An array of `struct iovec`.
    #[inline(always)]
    pub(crate) fn vector(address: u64, entries: u64) -> Self {
        if entries == 0 || entries > 1024 {
            return Self::missing(Missing::Vector);
        }
        Self {
            address,
            vectors: entries as u32,
            missing: Missing::None as u32,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoVec {
    pub(crate) base: u64,
    pub(crate) len: u64,
}

/// Saved registers on x86-64 (`struct pt_regs`, part of the kernel's ABI), byte offsets.
mod regs {
    pub(super) const R15: usize = 0;
    pub(super) const R14: usize = 8;
    pub(super) const RAX: usize = 80;
    pub(super) const RDX: usize = 96;
    pub(super) const RSI: usize = 104;
    pub(super) const RDI: usize = 112;
    pub(super) const ORIG_RAX: usize = 120;
    pub(super) const RSP: usize = 152;
}

/// `arch/x86/entry/syscalls/syscall_64.tbl`.
mod nr {
    pub(super) const READ: u64 = 0;
    pub(super) const WRITE: u64 = 1;
    pub(super) const READV: u64 = 19;
    pub(super) const WRITEV: u64 = 20;
    pub(super) const SENDTO: u64 = 44;
    pub(super) const RECVFROM: u64 = 45;
    pub(super) const SENDMSG: u64 = 46;
    pub(super) const RECVMSG: u64 = 47;
    pub(super) const PREADV: u64 = 295;
    pub(super) const PWRITEV: u64 = 296;
    pub(super) const RECVMMSG: u64 = 299;
    pub(super) const SENDMMSG: u64 = 307;
    pub(super) const PREADV2: u64 = 327;
    pub(super) const PWRITEV2: u64 = 328;
    pub(super) const IO_URING_ENTER: u64 = 426;
}

const PF_IO_WORKER: u32 = 0x10;
const PF_KTHREAD: u32 = 0x0020_0000;
const TS_COMPAT: u32 = 2;
/// What the entry code leaves in `rax` until the call has its result. Seen there, the task is still
/// inside the call that the other registers belong to (and not in work done on the way out of it).
const IN_CALL: u64 = -38_i64 as u64;
/// Size of `struct mmsghdr`, and where its `msg_len` stands.
const MMSGHDR: u64 = 64;
const MMSGHDR_LEN: u64 = 56;

/// Finds the buffers of the call the current task is in, which moved `moved` bytes.
#[inline(always)]
pub(crate) fn buffers(direction: Direction, moved: u32, state: &mut Connection) -> Buffers {
    // SAFETY: the helper takes no argument.
    let task = unsafe { bpf_get_current_task_btf() } as *const c_void;
    // SAFETY: the helper's result is a task.
    let flags = unsafe { load::<u32>(task, &kernel::TASK_FLAGS) };
    if flags & PF_IO_WORKER != 0 {
        return Buffers::missing(Missing::IoUring);
    }
    if flags & PF_KTHREAD != 0 {
        return Buffers::missing(Missing::NoBuffer);
    }
    if kernel::TASK_STATUS.load() != ABSENT {
        // SAFETY: as above.
        let status = unsafe { load::<u32>(task, &kernel::TASK_STATUS) };
        if status & TS_COMPAT != 0 {
            return Buffers::missing(Missing::Compat);
        }
    }
    // SAFETY: a user task has saved registers.
    let saved = unsafe { bpf_task_pt_regs(task.cast_mut().cast()) } as *const u8;
    // SAFETY: the verifier knows the result as `struct pt_regs`.
    let register = |offset: usize| unsafe { saved.add(offset).cast::<u64>().read_volatile() };
    let call = register(regs::ORIG_RAX);
    if call == nr::IO_URING_ENTER {
        return Buffers::missing(Missing::IoUring);
    }
    if register(regs::RAX) != IN_CALL {
        return Buffers::missing(Missing::NoBuffer);
    }
    let (second, third) = (register(regs::RSI), register(regs::RDX));
    let sends = direction as u8 == Direction::Tx as u8;
    let (plain, vector, message, batch) = if sends {
        (
            call == nr::WRITE || call == nr::SENDTO,
            call == nr::WRITEV || call == nr::PWRITEV || call == nr::PWRITEV2,
            call == nr::SENDMSG,
            call == nr::SENDMMSG,
        )
    } else {
        (
            call == nr::READ || call == nr::RECVFROM,
            call == nr::READV || call == nr::PREADV || call == nr::PREADV2,
            call == nr::RECVMSG,
            call == nr::RECVMMSG,
        )
    };
    if plain {
        Buffers::flat(second)
    } else if vector {
        Buffers::vector(second, third)
    } else if message {
        of_message(second)
    } else if batch {
        match batch_entry(second, third as u32, moved, state) {
            Some(message) => of_message(message),
            None => Buffers::missing(Missing::Fault),
        }
    } else {
        Buffers::missing(Missing::NoBuffer)
    }
}

/// Where the first byte of what the current task has received stands; 0 where that is not plain.
#[inline(always)]
pub(crate) fn received_at() -> u64 {
    // SAFETY: the helpers take the current task, whose saved registers the verifier knows.
    let (call, result, second) = unsafe {
        let task = bpf_get_current_task_btf();
        if load::<u32>(task as *const c_void, &kernel::TASK_FLAGS) & (PF_IO_WORKER | PF_KTHREAD)
            != 0
        {
            return 0;
        }
        let saved = bpf_task_pt_regs(task.cast()) as *const u8;
        let register = |offset: usize| saved.add(offset).cast::<u64>().read_volatile();
        (
            register(regs::ORIG_RAX),
            register(regs::RAX),
            register(regs::RSI),
        )
    };
    if result != IN_CALL {
        return 0;
    }
    let vector = if call == nr::READV {
        second
    } else if call == nr::RECVMSG {
        read::<u64>(second.wrapping_add(16)).unwrap_or(0)
    } else if call == nr::READ || call == nr::RECVFROM {
        return second;
    } else {
        return 0;
    };
    read::<IoVec>(vector).map_or(0, |first| first.base)
}

/// The goroutine whose system call this is, if the program is one in Go.
#[inline(always)]
pub(crate) fn goroutine() -> u64 {
    // SAFETY: the helpers take the current task, whose saved registers the verifier knows.
    unsafe {
        let task = bpf_get_current_task_btf();
        let saved = bpf_task_pt_regs(task.cast()) as *const u8;
        saved.add(regs::R14).cast::<u64>().read_volatile()
    }
}

/// The same, with the user's stack pointer.
#[inline(always)]
pub(crate) fn goroutine_and_stack() -> (u64, u64) {
    // SAFETY: as in `goroutine`.
    unsafe {
        let task = bpf_get_current_task_btf();
        let saved = bpf_task_pt_regs(task.cast()) as *const u8;
        let register = |offset: usize| saved.add(offset).cast::<u64>().read_volatile();
        (register(regs::R14), register(regs::RSP))
    }
}

/// Where code of HotSpot keeps its `JavaThread`.
#[inline(always)]
pub(crate) fn thread_of_jvm() -> u64 {
    // SAFETY: as in `goroutine`.
    unsafe {
        let task = bpf_get_current_task_btf();
        let saved = bpf_task_pt_regs(task.cast()) as *const u8;
        saved.add(regs::R15).cast::<u64>().read_volatile()
    }
}

/// The current thread's own data in user space; 0: not known.
#[inline(always)]
pub(crate) fn thread_pointer() -> u64 {
    if kernel::TASK_FSBASE.load() == ABSENT {
        return 0;
    }
    // SAFETY: the helper's result is a task.
    unsafe {
        let task = bpf_get_current_task_btf() as *const c_void;
        load::<u64>(task, &kernel::TASK_FSBASE)
    }
}

/// First argument of the system call that the current task is in: of a socket call, the file
/// descriptor. `None`: it is in none.
#[inline(always)]
pub(crate) fn file() -> Option<u32> {
    // SAFETY: as in `goroutine`.
    let (result, file) = unsafe {
        let task = bpf_get_current_task_btf();
        let saved = bpf_task_pt_regs(task.cast()) as *const u8;
        let register = |offset: usize| saved.add(offset).cast::<u64>().read_volatile();
        (register(regs::RAX), register(regs::RDI))
    };
    (result == IN_CALL).then_some(file as u32)
}

/// Third argument of the system call that the current task is in: of `read`, the size of the buffer.
#[inline(always)]
pub(crate) fn size() -> Option<u64> {
    // SAFETY: as in `goroutine`.
    let (result, size) = unsafe {
        let task = bpf_get_current_task_btf();
        let saved = bpf_task_pt_regs(task.cast()) as *const u8;
        let register = |offset: usize| saved.add(offset).cast::<u64>().read_volatile();
        (register(regs::RAX), register(regs::RDX))
    };
    (result == IN_CALL).then_some(size)
}

/// `struct user_msghdr`: `msg_iov` at 16, `msg_iovlen` at 24.
#[inline(always)]
fn of_message(message: u64) -> Buffers {
    match read::<[u64; 2]>(message.wrapping_add(16)) {
        Some([vector, entries]) => Buffers::vector(vector, entries),
        None => Buffers::missing(Missing::Fault),
    }
}

/// Which message of `sendmmsg` or `recvmmsg` this is: the hook fires once for each, and the kernel
/// has by then stored the results of those before it. A message that cannot be told is missing.
#[inline(always)]
fn batch_entry(array: u64, entries: u32, moved: u32, state: &mut Connection) -> Option<u64> {
    let follows = state.batch == array && state.batch_index.wrapping_add(1) < entries;
    let mut index = if follows {
        state.batch_index.wrapping_add(1)
    } else {
        0
    };
    if index > 0 {
        let before = array.wrapping_add(u64::from(index - 1).wrapping_mul(MMSGHDR));
        let stored: u32 = read(before.wrapping_add(MMSGHDR_LEN))?;
        if stored != state.batch_ret {
            index = 0;
        }
    }
    state.batch = array;
    state.batch_index = index;
    state.batch_ret = moved;
    Some(array.wrapping_add(u64::from(index).wrapping_mul(MMSGHDR)))
}

/// A value in the current task's memory; `None` when it is not mapped or not resident.
#[inline(always)]
pub(crate) fn read<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}
