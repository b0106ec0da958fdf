//! Logical tasks of runtimes: what runs on a thread is asked at the socket call.

/// What the agent has found out about a process: value of the `RUNTIMES` map (key: tgid). A forked
/// child inherits it, an exec ends it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// A [`RuntimeKind`].
    pub kind: u32,
    /// Go: offset of `g.goid`. CPython: of `PyThreadState.context`. Tokio: where in a task's table the offset
    /// of its id stands. Node.js: offset of the pointer to the ids of async resources in `Environment`.
    pub id: u32,
    /// Go: offset of `g.parentGoid`; 0: there is none (before Go 1.21). Node.js: of the ids in `AsyncWrap`.
    pub parent: u32,
    /// Bits of [`RuntimeFlags`].
    pub flags: u32,
    /// CPython: address of the key of its threads' states (`pthread_key_t`).
    pub thread_key: u64,
    /// CPython: address of `PyContext_Type`.
    pub context_type: u64,
    /// greenlet: address of the number of its module's thread-local storage; 0: not loaded.
    pub greenlet_module: u64,
    /// greenlet: where in that storage the pointer to its `ThreadState` stands.
    pub greenlet_offset: u64,
    /// JVM: addresses at which it keeps the offsets of its fields `Thread._osthread`,
    /// `OSThread._pthread_id`, `JavaThread._threadObj`, `JavaThread._vthread`; the last is 0 where there are no
    /// virtual threads.
    pub jvm_fields: [u64; 4],
    /// Tokio: where the id of the task that is polled stands, from the thread pointer (wraps around).
    pub current: u64,
    /// Tokio: address of the table of a task's wakers.
    pub wakers: u64,
    /// Node.js: what the first word of a native object is whose callback runs once, for whoever has made it
    /// (a class's virtual table, behind its head); 0: none.
    pub one_shot: [u64; 3],
    /// Node.js: distance from a function (V8's tagged pointer) to its context, bytes.
    pub function_context: u32,
    /// Node.js: distance from the root register to `undefined`, bytes.
    pub undefined: u32,
    /// Go before 1.21: offset of `g.m`.
    pub thread: u32,
    /// Go before 1.21: offset of `m.curg`; 0: there is `g.parentGoid`, or it is not known.
    pub running: u32,
}

/// Bits of [`Runtime::flags`].
pub struct RuntimeFlags;

impl RuntimeFlags {
    /// CPython: uvloop is loaded, and watched.
    pub const UVLOOP: u32 = 1;
    /// CPython: something is loaded that runs tasks in a way that is not known: none are told.
    pub const OFF: u32 = 2;
}

#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Tasks are goroutines, by their `goid`.
    Go = 1,
    /// An event-loop proxy, which has no tasks.
    Proxy = 2,
    /// CPython: tasks are contexts of `contextvars`, or greenlets, by their address.
    CPython = 3,
    /// A JVM: its virtual threads are the tasks, by their `Thread.threadId()`. Its other threads are judged as
    /// those of any program, and by who wakes whom.
    Jvm = 4,
    /// Tasks by their `task::Id`, which is not used again.
    Tokio = 5,
    /// Node.js has no tasks: what runs is told by ids of async resources, and by reactions of promises.
    Node = 6,
}

/// A logical task, or an object of the runtime that tasks hand work over with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskKey {
    /// The runtime's own id, or the object's address.
    pub id: u64,
    pub tgid: u32,
    /// A [`KeyKind`].
    pub kind: u32,
}

/// What [`TaskKey::id`] names.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A task, or an object that tasks hand work over with.
    Task = 0,
    /// A thread, by its `tid`; of a JVM: by its thread pointer.
    Thread = 1,
    /// What works for one connection, by an id of weft's own.
    Scope = 2,
    /// A transport of uvloop, by its address.
    Transport = 3,
    /// A file descriptor that a transport of uvloop writes to.
    File = 4,
    /// A channel of Tokio, by the address of its receiver's waker.
    Channel = 5,
    /// A connection that somebody in a JVM has made or taken from a pool, by its cookie.
    Taken = 6,
}

/// For whom a task works: the nearest of its line that reads requests, which may be itself. All zero:
/// not known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descent {
    /// Id of that task.
    pub root: u64,
    /// When it has created the first of the line: `CLOCK_MONOTONIC`, ns; 0: it is the task itself.
    pub left_ns: u64,
    /// Which request it worked on: time of the record in which that began, or with [`STREAM_BIT`] the
    /// stream of HTTP/2 on the connection that `root` reads.
    pub request: u64,
}

/// Value of the `TASKS` map: of tasks that read requests, or descend from such, or send for others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Task {
    pub descent: Descent,
    /// Its next call is made for this task.
    pub handed: HandOff,
    /// The request that it has read last, as in [`Descent`]; 0: none.
    pub request: u64,
    /// Bits of [`TaskFlags`].
    pub flags: u32,
    /// How many creations lie between it and its root.
    pub depth: u32,
    /// CPython: what tells it from others that had its address; 0: the address is not used again. Tokio: the
    /// [`KeyKind::Channel`] that `handed` came through.
    pub born: u64,
    /// CPython: the [`KeyKind::Scope`] it works in as long as it has no root of its own; 0: none.
    /// Tokio, with [`TaskFlags::PLUMBING`]: cookie of the connection that it sends on; 0: none yet.
    pub scope: u64,
}

/// Bits of [`Task::flags`].
pub struct TaskFlags;

impl TaskFlags {
    /// It belongs to a connection and works for whoever uses that: its descent says nothing.
    pub const PLUMBING: u32 = 1;
    /// Of a thread: it has accepted a connection, for which the next context is made.
    pub const ACCEPTED: u32 = 2;
    /// With `PLUMBING`: it sends on several connections: for whom is not known.
    pub const MANY: u32 = 4;
    /// CPython: it has sent something since it was made.
    pub const SENT: u32 = 8;
    /// CPython: made by one that was made for a request to send something, and has: what comes of that may be the next one's
    /// turn in a queue.
    pub const NEXT: u32 = 16;
    /// Of a connection: it was taken by a virtual thread, which works for nobody else.
    pub const VIRTUAL: u32 = 32;
}

/// Work that a task has given to another one: value of the `HAND_OFFS` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct HandOff {
    /// Who has given it; 0: nobody.
    pub task: u64,
    /// When: `CLOCK_MONOTONIC`, ns.
    pub time_ns: u64,
    pub descent: Descent,
    /// 1: another task had given something, too.
    pub shared: u64,
}

/// Attach cookie of a probe in a program that has Tokio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokioSite {
    /// What it is about stands in this register, an index into the words of `struct pt_regs`.
    pub register: u8,
    /// Less so many bytes.
    pub offset: u32,
}

impl TokioSite {
    #[inline(always)]
    #[must_use]
    pub const fn cookie(self) -> u64 {
        self.register as u64 | (self.offset as u64) << 8
    }

    #[inline(always)]
    #[must_use]
    pub const fn from_cookie(cookie: u64) -> Self {
        Self {
            register: cookie as u8,
            offset: (cookie >> 8) as u32,
        }
    }
}

/// Set in [`Descent::root`], beside a connection's cookie: the root is whatever works for that
/// connection (CPython, Node.js, threads of a JVM).
pub const CONNECTION_BIT: u64 = 1 << 62;

/// Set in [`Descent::request`]: a stream.
pub const STREAM_BIT: u64 = 1 << 63;

/// A task of which nothing can be told, not even that it is none.
pub const UNKNOWN_TASK: u64 = 1 << 61;

/// Creations between a task and its root at most.
pub const MAX_DEPTH: u32 = 32;

/// A thread of Node.js that runs JavaScript: value of the `NODE_THREADS` map (key: tid). Ids of async
/// resources are as they stand in memory: `double`s, whose bits order as their values do.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeThread {
    /// Tells it from others that had its `tid`: `CLOCK_MONOTONIC`, ns.
    pub born: u64,
    /// Address of its `Environment`.
    pub environment: u64,
    /// Address of the id that runs, the one that has triggered it, and the last one that was given.
    pub ids: u64,
    /// Ids up to this one are noted, as far as they belong to anything.
    pub noted: u64,
    /// Whom the ids belong to that are given from now on.
    pub owner: Descent,
    /// The id that runs while they are; [`NodeThread::NOBODY`]: others may run, too.
    pub running: u64,
    /// The request whose bytes the thread has read: the next callback is for that.
    pub read: Descent,
    /// A [`NodeRead`].
    pub reads: u32,
    /// Collections of its garbage.
    pub collections: u32,
    /// The session of HTTP/2 whose frames it sends; 0: none.
    pub session: u64,
    /// The session that it gives a request to, where the stream's number will stand, and for whom.
    pub submits: u64,
    pub stream: u64,
    pub submitter: Descent,
    /// A session that has got its first request since the thread has read last: what waited for the session
    /// follows, whoever it is for; 0: none.
    pub flushes: u64,
    /// The connection that it has read something else on than requests, until another callback begins; 0: none.
    pub response: u64,
    /// When it began to read that: `CLOCK_MONOTONIC`, ns.
    pub response_ns: u64,
    /// What that has gone on with, as told last.
    pub resumed: Descent,
    /// Where the callback's scope stands on the stack: those that it calls stand below.
    pub scope: u64,
}

impl NodeThread {
    pub const NOBODY: u64 = u64::MAX;
}

/// What a thread of Node.js has read since its last callback.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRead {
    Nothing = 0,
    /// Something of a request.
    Request = 1,
    /// Something else.
    Other = 2,
}

/// An async resource or an object of JavaScript: key of the maps `NODE_IDS` and `NODE_WAITS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeKey {
    /// The resource's id, or the object's tagged pointer.
    pub what: u64,
    /// [`NodeThread::born`].
    pub thread: u64,
}

/// Whom an async resource, or what waits for a promise, belongs to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeOwner {
    pub descent: Descent,
    /// The id that ran when the resource was made, as in [`NodeThread::running`].
    pub made_in: u64,
    /// 1: said by what was read, whatever has made it.
    pub said: u32,
    /// How often the object was seen to move.
    pub moves: u32,
    /// [`NodeThread::collections`] when it moved last.
    pub collection: u32,
    pub reserved: u32,
}

/// A thread of a JVM that runs no virtual thread: value of the `JAVA_THREADS` map, whose key is a [`KeyKind::Thread`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct JavaThread {
    /// For whom it works, as far as it has read that request or was woken by who works for it.
    pub descent: Descent,
    /// The connection on which it, or who has woken it, has read something else than a request; 0: none.
    pub response: u64,
    /// When that was read: `CLOCK_MONOTONIC`, ns.
    pub response_ns: u64,
    /// 1: it has read the request of `descent` itself, and has not begun to answer it.
    pub reads: u32,
    /// 1: another thread has read the response.
    pub woken: u32,
}
