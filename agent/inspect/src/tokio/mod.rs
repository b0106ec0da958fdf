//! Tokio in a program: where a thread keeps the id of the task that it polls, where ids are drawn for new
//! tasks, and where messages are sent to a channel's receiver. Names are not needed, so a program may be
//! stripped: all of it is read from the tables and from the code that every Tokio has.
//!
//! ```text
//! task::Vtable { poll, schedule, dealloc, .., shutdown, trailer_offset, scheduler_offset, id_offset }
//! RawWakerVTable { clone_waker, wake_by_val, wake_by_ref, drop_waker }     one for all tasks
//! TaskIdGuard::enter(id)      mov old, fs:[current_task_id]; mov fs:[current_task_id], id
//! Id::next()                  mov id, 1; lock xadd [NEXT_ID], id; test id, id; je
//! AtomicWaker::wake()         or new, WAKING; lock cmpxchg [state], new; jne; test old, old; jcc
//! ```
//! Looked at: Tokio 1.38, 1.54; rustc 1.95 at optimisation levels 1 and 3, with and without LTO.

mod current;
mod functions;
mod sites;
mod tables;
#[cfg(test)]
mod tests;

use memchr::memmem;

use crate::elf::{Image, Symbols};
use crate::{Problem, Register, Site};
use tables::Pointers;

/// How the tasks of a program are told apart. Addresses are the file's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokio {
    /// As the program's messages name it: `1.54.1`.
    pub version: Option<String>,
    /// Where the id of the task that is polled stands, from the thread pointer (wraps around).
    pub current: u64,
    /// Address of the table of a task's wakers.
    pub wakers: u64,
    /// By how much addresses of code are larger than its offsets in the file (wraps around).
    pub bias: u64,
    /// Where in a task's table the offset of its id stands, bytes.
    pub id_offset: u32,
    /// Where a new task has its id.
    pub drawn: Vec<Drawn>,
    /// Where a message was sent.
    pub sends: Vec<Sends>,
    /// What is not known, and why: whole sentences for the user.
    pub problems: Vec<Problem>,
}

/// The id of a new task stands in a register; 0: it is drawn again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    pub site: Site,
    pub id: Register,
}

/// `AtomicWaker::wake`: of the words `{ vtable, data, state }` the last has been changed; its old value stands
/// in `rax`, and the first two are as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sends {
    pub site: Site,
    /// Holds a pointer to the three words, less `offset`.
    pub waker: Register,
    pub offset: u32,
}

/// More tasks are not spawned from anywhere: each is a probe.
const MAX_SITES: usize = 512;

pub(crate) fn wants(name: &[u8]) -> bool {
    is_wake(name)
}

/// `tokio::sync::task::atomic_waker::AtomicWaker::wake`, mangled in either way:
/// `_ZN5tokio4sync4task12atomic_waker11AtomicWaker4wake17h0E` or
/// `_RNvMNtNtNtCs_5tokio4sync4task12atomic_wakerNtB_11AtomicWaker4wake`.
fn is_wake(name: &[u8]) -> bool {
    const FUNCTION: &[u8] = b"11AtomicWaker4wake";
    let Some(at) = memmem::find(name, FUNCTION) else {
        return false;
    };
    let (before, after) = (&name[..at], &name[at + FUNCTION.len()..]);
    memmem::find(before, b"5tokio").is_some()
        && memmem::find(before, b"12atomic_waker").is_some()
        && (after.is_empty() || after.starts_with(b"17h") || after.starts_with(b"."))
}

/// `None`: nothing of it. The error is the reason for the user.
pub(crate) fn find(
    image: &Image<'_>,
    symbols: &Symbols<'_>,
) -> Option<Result<Box<Tokio>, &'static str>> {
    const NAME: &[u8] = b"tokio";
    /// What its threads are called: `tokio-runtime-worker`, `tokio-rt-worker`.
    const THREADS: &[u8] = b"tokio-r";
    let data = image.named(".rodata")?.bytes;
    memmem::find(data, NAME)?;
    let pointers = Pointers::read(image);
    match pointers.wakers()[..] {
        [] => memmem::find(data, THREADS)
            .map(|_| Err("it was built without optimisation, or is of an unknown version")),
        [wakers] => Some(found(image, symbols, &pointers, wakers).map(Box::new)),
        _ => Some(Err("there is more than one Tokio in it")),
    }
}

fn found(
    image: &Image<'_>,
    symbols: &Symbols<'_>,
    pointers: &Pointers<'_, '_>,
    wakers: u64,
) -> Result<Tokio, &'static str> {
    let tasks = pointers.tasks();
    let Some(first) = tasks.first() else {
        return Err("its tasks have no ids, or another layout than those of Tokio 1.38 to 1.54");
    };
    let bias = image
        .offset(first.poll)
        .map(|offset| first.poll.wrapping_sub(offset))
        .ok_or("it has no code")?;
    let current = current::find(image, pointers, &tasks)?;
    let version = version(image);
    let wake = symbols
        .iter()
        .filter(|symbol| is_wake(symbol.name.as_bytes()));
    let named: Vec<_> = wake
        .map(|symbol| symbol.address..symbol.address.saturating_add(symbol.bytes))
        .collect();
    // Before, a channel's waker had no cache line of its own.
    if named.is_empty() && !version.as_deref().is_some_and(|it| is_at_least(it, 1, 30)) {
        return Err("it names no functions and is older than Tokio 1.30, or of an unknown version");
    }
    let sends = sites::sends(image, pointers, &named)?;
    let mut problems = Vec::new();
    let drawn = drawn(image, pointers).unwrap_or_else(|why| {
        problems.push(Problem(format!(
            "{why}: calls of spawned tasks are not linked"
        )));
        Vec::new()
    });
    Ok(Tokio {
        version,
        current,
        wakers,
        bias,
        id_offset: tables::Task::ID_OFFSET,
        drawn,
        sends,
        problems,
    })
}

/// Where ids of tasks are drawn. Lists of tasks have ids of the same make, which are fewer: the kernel
/// programs believe none that is smaller than that of the task that draws it.
fn drawn(image: &Image<'_>, pointers: &Pointers<'_, '_>) -> Result<Vec<Drawn>, &'static str> {
    const COUNTERS: usize = 2;
    const COUNTER: &[u8] = b"4next7NEXT_ID";
    let mut counters = sites::drawn(image, pointers);
    let data = Symbols::data(image, |name| {
        memmem::find(name, COUNTER).is_some() && memmem::find(name, b"5tokio").is_some()
    });
    let named: Vec<_> = data.iter().map(|symbol| symbol.address).collect();
    if named.is_empty() {
        let begins_at_one =
            |at: u64| image.data(at).and_then(<[u8]>::first_chunk) == Some(&1_u64.to_le_bytes());
        counters.retain(|&counter, _| begins_at_one(counter));
    } else {
        counters.retain(|counter, _| named.contains(counter));
    }
    if counters.len() > COUNTERS {
        return Err("which of several counters gives tasks their ids is not known");
    }
    let drawn: Vec<_> = counters.into_values().flatten().collect();
    match drawn.len() {
        0 => Err("where tasks get their ids is not found"),
        1..=MAX_SITES => Ok(drawn),
        _ => Err("tasks are spawned in too many places"),
    }
}

/// Panics name the file they happen in: `.../tokio-1.54.1/src/task/spawn.rs`.
fn version(image: &Image<'_>) -> Option<String> {
    const BEFORE: &[u8] = b"/tokio-";
    const MAX_BYTES: usize = 16;
    let data = image.named(".rodata")?.bytes;
    memmem::find_iter(data, BEFORE).take(64).find_map(|at| {
        let rest = &data[at + BEFORE.len()..];
        let rest = rest.get(..MAX_BYTES).unwrap_or(rest);
        let version = &rest[..memchr::memchr(b'/', rest)?];
        let is_version =
            version.first()?.is_ascii_digit() && version.iter().all(u8::is_ascii_graphic);
        is_version.then(|| String::from_utf8_lossy(version).into_owned())
    })
}

fn is_at_least(version: &str, major: u32, minor: u32) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    (numbers.next(), numbers.next()) >= (Some(major), Some(minor))
}
