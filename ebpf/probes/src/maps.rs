//! All maps. Sizes are upper bounds; hash maps allocate elements as they come.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::bpf_map_type,
    btf_maps::{
        Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf, SkStorage, SockHash,
    },
    macros::btf_map,
};
use weft_abi::{
    Connection, Control, Counter, Destination, GoKey, HandOff, Head, Hint, InjectControl,
    Injection, JavaThread, NodeKey, NodeOwner, NodeThread, Runtime, Session, SessionKey, Task,
    TaskKey, TlsCall, Work,
};

use crate::{
    tls::Storage,
    walk::{DESKS, Walk},
};

const NO_PREALLOC: usize = 1;

/// Records to the agent. The loader sets the real size.
#[btf_map]
pub(crate) static RECORDS: RingBuf<u8, { 4 << 20 }> = RingBuf::new();

#[btf_map]
pub(crate) static CONTROL: Array<Control, 1> = Array::new();

/// Judged processes by tgid; values here and below are `weft_abi::Verdict`. A forked child inherits its parent's element before it runs.
#[btf_map]
pub(crate) static PROCESSES: HashMap<u32, u32, 65536, NO_PREALLOC> = HashMap::new();

/// Judged cgroups by id.
#[btf_map]
pub(crate) static CGROUPS: HashMap<u64, u32, 4096, NO_PREALLOC> = HashMap::new();

/// Judged ports, local or remote.
#[btf_map]
pub(crate) static PORTS: HashMap<u16, u32, 256, NO_PREALLOC> = HashMap::new();

/// The agent's word on connections, by socket cookie; taken out when read, so nearly empty. One that
/// is never read, because nothing crosses its connection any more, is pushed out by others.
#[btf_map]
pub(crate) static HINTS: LruHashMap<u64, Hint, 4096> = LruHashMap::new();

#[btf_map]
pub(crate) static CONNECTIONS: SkStorage<Connection> = SkStorage::new();

/// TLS sessions. One whose end was not seen is pushed out by others.
#[btf_map]
pub(crate) static SESSIONS: LruHashMap<SessionKey, Session, 16384> = LruHashMap::new();

/// Sessions that were bound from the library's side, by socket cookie, until the socket's next call.
#[btf_map]
pub(crate) static BOUND: LruHashMap<u64, SessionKey, 4096> = LruHashMap::new();

#[btf_map]
pub(crate) static TLS_THREADS: TaskStorage<Storage> = TaskStorage::new();

/// TLS calls under way in Go programs, where a thread's storage would lose the goroutine.
#[btf_map]
pub(crate) static GO_CALLS: LruHashMap<GoKey, TlsCall, 16384> = LruHashMap::new();

/// Runtimes of processes, by tgid. A forked child inherits its parent's element before it runs.
#[btf_map]
pub(crate) static RUNTIMES: HashMap<u32, Runtime, 16384, NO_PREALLOC> = HashMap::new();

/// Logical tasks. One whose end was not seen is pushed out by others.
#[btf_map]
pub(crate) static TASKS: LruHashMap<TaskKey, Task, 16384> = LruHashMap::new();

/// What tasks have handed over and nobody has taken yet, by the object that it went through.
#[btf_map]
pub(crate) static HAND_OFFS: LruHashMap<TaskKey, HandOff, 16384> = LruHashMap::new();

/// Threads of JVMs that work for a request, or have read something else.
#[btf_map]
pub(crate) static JAVA_THREADS: LruHashMap<TaskKey, JavaThread, 8192> = LruHashMap::new();

/// Threads that run JavaScript, by tid.
#[btf_map]
pub(crate) static NODE_THREADS: LruHashMap<u32, NodeThread, 1024> = LruHashMap::new();

/// Async resources of Node.js that belong to a request, or expressly to nobody.
#[btf_map]
pub(crate) static NODE_IDS: LruHashMap<NodeKey, NodeOwner, 32768> = LruHashMap::new();

/// What waits for a promise on behalf of a request: generators of async functions, and promises that `then` has made.
#[btf_map]
pub(crate) static NODE_WAITS: LruHashMap<NodeKey, NodeOwner, 16384> = LruHashMap::new();

/// Walks under way, by [`Desk`](crate::walk::Desk).
#[btf_map]
pub(crate) static WALKS: PerCpuArray<Walk, DESKS> = PerCpuArray::new();

/// The second half of `tls_leave`.
#[btf_map]
pub(crate) static TLS_DATA: ProgramArray<1> = ProgramArray::new();

#[btf_map]
pub(crate) static INJECT: Array<InjectControl, 1> = Array::new();

/// Where plaintext requests of HTTP/1 have gone to.
#[btf_map]
pub(crate) static DESTINATIONS: LruHashMap<Destination, u32, 4096> = LruHashMap::new();

/// Processes that have read requests, by tgid.
#[btf_map]
pub(crate) static SERVES: LruHashMap<u32, u32, 16384> = LruHashMap::new();

/// Processes whose threads work on one request at a time and answer it, by tgid.
#[btf_map]
pub(crate) static WORKERS: LruHashMap<u32, u32, 16384> = LruHashMap::new();

/// What such threads work on.
#[btf_map]
pub(crate) static WORK: LruHashMap<u32, Work, 16384> = LruHashMap::new();

#[btf_map]
pub(crate) static HEADS: PerCpuArray<Head, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static INJECTIONS: SkStorage<Injection> = SkStorage::new();

/// Connections from their beginning to the first acknowledgement, by cookie: what is sent on them passes `write_header`.
#[btf_map]
pub(crate) static SOCKETS: SockHash<u64, 16384> = SockHash::new();

#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<u64, { Counter::ALL.len() }> = PerCpuArray::new();

/// `BPF_MAP_TYPE_TASK_STORAGE`, for which aya-ebpf has no type yet.
#[repr(C)]
pub(crate) struct TaskStorage<T> {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; NO_PREALLOC],
}

// SAFETY: a definition for the loader; nothing is ever read through its pointers.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }
}

#[inline(always)]
pub(crate) fn count(counter: Counter) {
    add(counter, 1);
}

#[inline(always)]
pub(crate) fn add(counter: Counter, n: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a per-CPU slot; a lost update by an interrupting program would cost one count.
        unsafe { *value += n };
    }
}

/// Whether a counter stands at a power of two on this CPU: often enough for a warning.
#[inline(always)]
pub(crate) fn is_milestone(counter: Counter) -> bool {
    COUNTERS
        .get(counter as u32)
        .is_some_and(|&count| count & count.wrapping_sub(1) == 0)
}

/// What helpers without a wrapper of their own want as a map.
#[inline(always)]
pub(crate) const fn pointer<M>(map: &'static M) -> *mut c_void {
    ptr::from_ref(map).cast_mut().cast()
}
