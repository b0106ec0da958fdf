//! Workers of processes where one thread reads a request and another answers it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{End, OK, World, get};
use weft_flow::span::{Kind, Link};

const CURL: (u32, u32) = (100, 100);
const APP: (u32, u32) = (300, READER);
const BACK: (u32, u32) = (400, 401);

/// Workers of a process where threads hand requests over, as Puma's reactor does.
struct Pool {
    world: World,
    back: (End, End),
}

const READER: u32 = 301;
const WORKER: u32 = 302;
const OTHER: u32 = 303;

impl Pool {
    /// Whose first request shows that it is one.
    fn new() -> Self {
        let mut pool = Self::unknown();
        let mut first = pool.read(READER);
        pool.answer(WORKER, &mut first);
        pool.world.settled();
        assert_eq!(pool.world.flow.counters().processes_hand_off, 1);
        pool
    }

    fn unknown() -> Self {
        let mut world = World::new();
        let back = world.connect(APP, BACK);
        Self { world, back }
    }

    fn read(&mut self, tid: u32) -> (End, End) {
        let mut front = self.world.connect(CURL, APP);
        front.1.tid = tid;
        self.world.pass(&mut front.0, &mut front.1, &get("/front"));
        front
    }

    fn call(&mut self, tid: u32) {
        self.back.0.tid = tid;
        let (call, back) = &mut self.back;
        self.world.exchange(call, back, "/back");
    }

    fn answer(&mut self, tid: u32, front: &mut (End, End)) {
        front.1.tid = tid;
        self.world.pass(&mut front.1, &mut front.0, OK);
    }

    /// Of the calls, in order: the request that each is linked to, by its number, and how.
    fn check(mut self, expected: &[Option<(usize, Link)>]) {
        let spans = self.world.settled();
        let of = |kind| {
            let all = spans.iter();
            all.filter(move |span| span.process.tgid == 300 && span.kind == kind)
        };
        let mut servers: Vec<_> = of(Kind::Server).collect();
        servers.sort_by_key(|span| span.start_ns);
        let mut calls: Vec<_> = of(Kind::Client).collect();
        calls.sort_by_key(|span| span.start_ns);
        let found: Vec<_> = calls
            .iter()
            .map(|call| {
                let parent = call.parent?;
                let server = servers.iter().position(|it| it.span_id == parent);
                Some((server.unwrap(), call.link))
            })
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_worker_for_which_others_read() {
    let mut pool = Pool::new();
    let mut one = pool.read(READER);
    let mut other = pool.read(READER);
    pool.call(OTHER);
    pool.call(WORKER);
    pool.call(WORKER);
    pool.answer(OTHER, &mut one);
    pool.answer(WORKER, &mut other);
    // What a worker reads itself is its own as before.
    let mut own = pool.read(WORKER);
    pool.call(WORKER);
    pool.answer(WORKER, &mut own);
    let handed = |number| Some((number, Link::HandOff));
    pool.check(&[handed(0), handed(1), handed(1), Some((2, Link::Thread))]);
}

#[test]
fn the_first_request_that_a_loop_reads_for_a_worker() {
    for epoll in [true, false] {
        let mut pool = Pool::unknown();
        let mut front = pool.world.connect(CURL, APP);
        front.1.epoll = epoll;
        pool.world.pass(&mut front.0, &mut front.1, &get("/front"));
        pool.call(WORKER);
        pool.answer(WORKER, &mut front);
        pool.check(&[epoll.then_some((0, Link::HandOff))]);
    }
}

/// What shows that requests are handed over is not linked, and of a thread that reads one and leaves it to another,
/// only what it does for one that it answers itself.
#[test]
fn who_reads_for_others_may_work_for_itself() {
    let mut pool = Pool::unknown();
    let mut front = pool.read(READER);
    pool.call(READER);
    pool.answer(WORKER, &mut front);
    let mut own = pool.read(READER);
    pool.call(READER);
    pool.answer(READER, &mut own);
    assert_eq!(pool.world.flow.counters().processes_hand_off, 1);
    pool.check(&[None, Some((1, Link::Thread))]);
}

#[test]
fn a_worker_may_read_for_others() {
    let mut pool = Pool::new();
    for _ in 0..2 {
        let mut left = pool.read(WORKER);
        let mut front = pool.read(WORKER);
        pool.call(WORKER);
        pool.answer(OTHER, &mut left);
        pool.answer(WORKER, &mut front);
    }
    let thread = |number| Some((number, Link::Thread));
    pool.check(&[thread(1), thread(3)]);
}

#[test]
fn threads_that_take_turns_as_event_loops_are_no_workers() {
    let mut pool = Pool::new();
    for worker in [WORKER, OTHER] {
        let mut front = pool.world.connect(CURL, APP);
        (front.1.tid, front.1.epoll) = (worker, true);
        pool.world.pass(&mut front.0, &mut front.1, &get("/front"));
        pool.answer(READER, &mut front);
    }
    for _ in 0..2 {
        let mut front = pool.read(READER);
        pool.call(WORKER);
        pool.answer(WORKER, &mut front);
        // One that also reads otherwise was faster than the reactor.
        let mut own = pool.read(WORKER);
        pool.answer(WORKER, &mut own);
    }
    pool.check(&[None, Some((4, Link::HandOff))]);
}

#[test]
fn workers_with_other_work_are_not_trusted() {
    let mut pool = Pool::new();
    pool.call(WORKER);
    for worker in [WORKER, WORKER, OTHER] {
        let mut front = pool.read(READER);
        pool.call(worker);
        pool.answer(worker, &mut front);
    }
    assert_eq!(pool.world.flow.counters().processes_other_work, 1);
    pool.check(&[None, None, None, None]);
}

#[test]
fn what_is_sent_for_an_own_request_is_not_for_anothers() {
    let mut pool = Pool::new();
    let mut front = pool.read(READER);
    let _own = pool.read(WORKER);
    pool.call(WORKER);
    pool.answer(WORKER, &mut front);
    pool.check(&[None]);
}

#[test]
fn calls_of_event_loops_and_of_threads_that_answer_nothing() {
    let mut pool = Pool::new();
    let mut front = pool.read(READER);
    pool.call(OTHER);
    pool.back.0.epoll = true;
    pool.call(WORKER);
    pool.answer(WORKER, &mut front);
    pool.check(&[None, None]);
}

/// A worker reads the next request of a connection, puts it into the queue, and works on what another one has read.
#[test]
fn who_answers_another_ones_request_has_sent_for_that() {
    let mut pool = Pool::unknown();
    let mut other = pool.read(READER);
    let mut own = pool.read(WORKER);
    pool.call(WORKER);
    pool.answer(WORKER, &mut other);
    pool.answer(WORKER, &mut own);
    pool.check(&[None]);
}

/// Who releases a connection may send what has waited for it, whatever that is for.
#[test]
fn what_another_thread_reads_was_not_waited_for() {
    for (mut pool, in_time) in [
        (Pool::unknown(), false),
        (Pool::unknown(), true),
        (Pool::new(), false),
        (Pool::new(), true),
    ] {
        let mut front = pool.read(WORKER);
        pool.back.0.tid = WORKER;
        let (call, back) = &mut pool.back;
        pool.world.pass(call, back, &get("/back"));
        if !in_time {
            pool.answer(WORKER, &mut front);
        }
        let (call, back) = &mut pool.back;
        call.tid = OTHER;
        pool.world.pass(back, call, OK);
        if in_time {
            pool.answer(WORKER, &mut front);
        }
        pool.check(&[None]);
    }
}
