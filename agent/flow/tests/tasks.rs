//! Links by logical tasks, and the traps in which there must be none.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::h2;
use common::{End, MS, OK, World, get, get_with};
use weft_abi::CONNECTION_BIT;
use weft_flow::record::{ProcessChangeKind, Root, Token, Work};
use weft_flow::span::{Kind, Link, Span};

const CLIENT: (u32, u32) = (100, 100);
const APP: (u32, u32) = (300, 301);
const BACK: (u32, u32) = (400, 401);

/// A task that neither reads requests nor descends from one that does.
fn task(task: u64) -> Option<Work> {
    Some(Work {
        task,
        context: false,
        shared: false,
        resumes: false,
        thread: false,
        handed_ns: None,
        root: None,
    })
}

/// A task that has read a request last at that time.
fn own(id: u64, request_ns: u64) -> Option<Work> {
    let root = Some(Root {
        task: id,
        left_ns: None,
        request: Token::At(request_ns),
    });
    task(id).map(|work| Work { root, ..work })
}

/// A task that descends from another one, which it left then.
fn child(id: u64, of: u64, left_ns: u64, request_ns: u64) -> Option<Work> {
    let root = Some(Root {
        task: of,
        left_ns: Some(left_ns),
        request: Token::At(request_ns),
    });
    task(id).map(|work| Work { root, ..work })
}

/// Sent by another task, for this one.
fn handed(work: Option<Work>, at_ns: u64) -> Option<Work> {
    work.map(|work| Work {
        handed_ns: Some(at_ns),
        ..work
    })
}

/// A server with clients, and a connection to what it asks.
struct Scene {
    world: World,
    back: (End, End),
    spans: Vec<Span>,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new();
        let mut back = world.connect(APP, BACK);
        back.0.epoll = true;
        Self {
            world,
            back,
            spans: Vec::new(),
        }
    }

    fn client(&mut self) -> (End, End) {
        let mut front = self.world.connect(CLIENT, APP);
        front.1.epoll = true;
        front
    }

    /// The task reads a request; when.
    fn asked(&mut self, front: &mut (End, End), id: u64, path: &str) -> u64 {
        front.1.work = task(id);
        self.world.pass(&mut front.0, &mut front.1, &get(path));
        self.world.now
    }

    fn answers(&mut self, front: &mut (End, End)) {
        self.world.pass(&mut front.1, &mut front.0, OK);
    }

    /// The server asks on.
    fn calls(&mut self, work: Option<Work>, path: &str) {
        self.back.0.work = work;
        let (client, server) = &mut self.back;
        self.world.exchange(client, server, path);
        self.spans.extend(self.world.drain());
    }

    fn spans(mut self) -> Spans {
        self.spans.extend(self.world.settled());
        Spans(self.spans)
    }
}

struct Spans(Vec<Span>);

impl Spans {
    fn of(&self, kind: Kind, path: &str) -> &Span {
        let mut found = self.0.iter().filter(|span| {
            span.process.tgid == APP.0
                && span.kind == kind
                && span.exchange.target == path.as_bytes()
        });
        let span = found.next().unwrap();
        assert!(found.next().is_none(), "{path}");
        span
    }

    #[track_caller]
    fn caused(&self, call: &str, request: &str, link: Link) {
        let (call, request) = (self.of(Kind::Client, call), self.of(Kind::Server, request));
        assert_eq!(call.link, link);
        assert_eq!(call.parent, Some(request.span_id));
        assert_eq!(call.trace_id, request.trace_id);
        assert!(!call.parent_is_remote);
    }

    #[track_caller]
    fn uncaused(&self, call: &str) {
        let call = self.of(Kind::Client, call);
        assert_eq!((call.link, call.parent), (Link::None, None));
    }
}

#[test]
fn the_task_that_read_the_request_and_its_children() {
    let mut scene = Scene::new();
    let mut front = scene.client();
    let a = scene.asked(&mut front, 7, "/a");
    scene.calls(own(7, a), "/own");
    scene.calls(child(8, 7, a + 10, a), "/child");
    scene.calls(task(9), "/stranger");
    scene.answers(&mut front);
    let spans = scene.spans();
    spans.caused("/own", "/a", Link::Goroutine);
    spans.caused("/child", "/a", Link::Goroutine);
    spans.uncaused("/stranger");
}

#[test]
fn one_request_after_the_other() {
    let mut scene = Scene::new();
    let mut front = scene.client();
    let a = scene.asked(&mut front, 7, "/a");
    scene.answers(&mut front);
    scene.calls(own(7, a), "/after-a");
    let b = scene.asked(&mut front, 7, "/b");
    scene.calls(own(7, b), "/in-b");
    // Made while the first was worked on, and late.
    scene.calls(child(8, 7, a + 10, a), "/late");
    scene.calls(handed(own(7, a), a + 10), "/late-writer");
    scene.answers(&mut front);
    let spans = scene.spans();
    spans.caused("/after-a", "/a", Link::Goroutine);
    spans.caused("/in-b", "/b", Link::Goroutine);
    spans.caused("/late", "/a", Link::Goroutine);
    spans.caused("/late-writer", "/a", Link::HandOff);
}

/// What the kernel programs have seen begin, and the agent has not, causes nothing else.
#[test]
fn a_request_that_was_lost() {
    let mut scene = Scene::new();
    let mut front = scene.client();
    let a = scene.asked(&mut front, 7, "/a");
    scene.answers(&mut front);
    scene.calls(own(7, a + 10), "/in-lost");
    scene.calls(child(8, 7, a + 20, a + 10), "/child-of-lost");
    assert_eq!(scene.world.flow.counters().task_ambiguous, 2);
    let spans = scene.spans();
    spans.uncaused("/in-lost");
    spans.uncaused("/child-of-lost");
}

/// The kernel programs see a request begin only at the beginning of a call.
#[test]
fn a_request_behind_the_end_of_another() {
    let mut scene = Scene::new();
    let mut front = scene.client();
    front.1.work = task(7);
    let post = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    scene.world.pass(&mut front.0, &mut front.1, post);
    let a = scene.world.now;
    scene.calls(own(7, a), "/in-a");
    let rest = [&b"body"[..], &get("/b")].concat();
    scene.world.pass(&mut front.0, &mut front.1, &rest);
    scene.answers(&mut front);
    scene.calls(own(7, a), "/in-b");
    scene.answers(&mut front);
    let spans = scene.spans();
    spans.caused("/in-a", "/a", Link::Goroutine);
    spans.uncaused("/in-b");
}

/// Go's server has a goroutine that waits for the first byte of the next request.
#[test]
fn a_first_byte_that_another_task_reads() {
    let mut scene = Scene::new();
    let mut front = scene.client();
    let a = scene.asked(&mut front, 7, "/a");
    scene.calls(own(7, a), "/in-a");
    scene.answers(&mut front);
    front.1.work = task(8);
    scene.world.pass(&mut front.0, &mut front.1, b"G");
    front.1.work = task(7);
    scene
        .world
        .pass(&mut front.0, &mut front.1, &get("/b")[1..]);
    let b = scene.world.now;
    scene.calls(own(7, b), "/in-b");
    scene.answers(&mut front);
    let spans = scene.spans();
    spans.caused("/in-a", "/a", Link::Goroutine);
    spans.caused("/in-b", "/b", Link::Goroutine);
}

#[test]
fn pipelined_requests_are_worked_on_in_order() {
    let mut scene = Scene::new();
    let mut front = scene.client();
    front.1.work = task(7);
    let both = [get("/a"), get("/b")].concat();
    scene.world.pass(&mut front.0, &mut front.1, &both);
    let both = scene.world.now;
    scene.calls(own(7, both), "/in-a");
    scene.answers(&mut front);
    scene.calls(own(7, both), "/in-b");
    scene.answers(&mut front);
    let spans = scene.spans();
    spans.caused("/in-a", "/a", Link::Goroutine);
    spans.caused("/in-b", "/b", Link::Goroutine);
}

/// A connection's writer sends for whoever has handed it something, and for nobody else.
#[test]
fn a_writer_sends_for_others() {
    let mut scene = Scene::new();
    let (mut one, mut other) = (scene.client(), scene.client());
    let a = scene.asked(&mut one, 7, "/a");
    let b = scene.asked(&mut other, 17, "/b");
    scene.calls(handed(own(17, b), b + 10), "/for-b");
    scene.calls(handed(child(8, 7, b + 10, a), b + 20), "/for-a");
    scene.calls(handed(task(99), b), "/for-nobody");
    scene.calls(task(50), "/not-said");
    scene.answers(&mut one);
    scene.answers(&mut other);
    let spans = scene.spans();
    spans.caused("/for-b", "/b", Link::HandOff);
    spans.caused("/for-a", "/a", Link::HandOff);
    spans.uncaused("/for-nobody");
    spans.uncaused("/not-said");
}

#[test]
fn a_task_that_reads_for_others_is_never_trusted() {
    let mut scene = Scene::new();
    let (mut one, mut other) = (scene.client(), scene.client());
    let a = scene.asked(&mut one, 7, "/a");
    let b = scene.asked(&mut other, 7, "/b");
    scene.calls(own(7, b), "/own");
    scene.calls(child(8, 7, a + 10, a), "/child");
    scene.answers(&mut one);
    scene.answers(&mut other);
    let c = scene.asked(&mut one, 7, "/c");
    scene.calls(own(7, c), "/later");
    assert_eq!(scene.world.flow.counters().tasks_disqualified, 1);
    assert_eq!(scene.world.flow.counters().task_ambiguous, 3);
    scene.answers(&mut one);
    let spans = scene.spans();
    for call in ["/own", "/child", "/later"] {
        spans.uncaused(call);
    }
}

/// A worker takes the next connection when its last client is gone, whether or not it was answered.
#[test]
fn a_task_may_serve_connections_in_turn() {
    let mut scene = Scene::new();
    let (mut one, mut other) = (scene.client(), scene.client());
    let a = scene.asked(&mut one, 7, "/cancelled");
    scene.calls(own(7, a), "/in-cancelled");
    scene.world.close(&one.1);
    let b = scene.asked(&mut other, 7, "/b");
    scene.calls(own(7, b), "/in-b");
    scene.answers(&mut other);
    let spans = scene.spans();
    spans.caused("/in-cancelled", "/cancelled", Link::Goroutine);
    spans.caused("/in-b", "/b", Link::Goroutine);
}

#[test]
fn an_old_answer_causes_nothing() {
    let mut scene = Scene::new();
    let mut front = scene.client();
    let a = scene.asked(&mut front, 7, "/a");
    scene.answers(&mut front);
    let spans = scene.world.after(4_000 * MS);
    scene.spans.extend(spans);
    scene.calls(own(7, a), "/soon");
    let spans = scene.world.after(2_000 * MS);
    scene.spans.extend(spans);
    scene.calls(own(7, a), "/late");
    let spans = scene.spans();
    spans.caused("/soon", "/a", Link::Goroutine);
    spans.uncaused("/late");
}

#[test]
fn the_same_id_in_another_program_is_another_task() {
    let mut scene = Scene::new();
    let mut front = scene.client();
    let a = scene.asked(&mut front, 7, "/a");
    scene.world.process(APP.0, ProcessChangeKind::Exec);
    scene.calls(own(7, a), "/own");
    scene.calls(child(8, 7, a + 10, a), "/child");
    scene.answers(&mut front);
    let spans = scene.spans();
    spans.uncaused("/own");
    spans.uncaused("/child");
}

#[test]
fn a_context_that_is_passed_on_keeps_its_trace() {
    let mut scene = Scene::new();
    let mut front = scene.client();
    let said = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    front.1.work = task(7);
    let request = get_with("/a", said);
    scene.world.pass(&mut front.0, &mut front.1, &request);
    scene.back.0.work = own(7, scene.world.now);
    let (client, server) = &mut scene.back;
    scene
        .world
        .pass(client, server, &get_with("/passed-on", said));
    scene.world.pass(server, client, OK);
    scene.answers(&mut front);
    let spans = scene.spans();
    spans.caused("/passed-on", "/a", Link::Goroutine);
}

/// A task that works on a stream of the connection that `root`, or a child of it, reads.
fn on_stream(id: u64, root: u64, stream: u32) -> Option<Work> {
    let root = Some(Root {
        task: root,
        left_ns: None,
        request: Token::Stream(stream),
    });
    task(id).map(|work| Work { root, ..work })
}

/// A connection of HTTP/2 on which the requests `/1`, `/3` and `/5` came at once, read by a child of
/// this task.
fn streams(scene: &mut Scene, reader: u64, parent: u64) -> (End, End) {
    let mut front = scene.client();
    front.1.work = on_stream(reader, parent, 0);
    let asked = [1, 3, 5].map(|stream| h2::get(stream, &format!("/{stream}")));
    let (client, server) = (&mut front.0, &mut front.1);
    scene.world.pass(client, server, &h2::hello());
    scene.world.pass(server, client, &h2::settings());
    scene.world.pass(client, server, &asked.concat());
    front
}

#[test]
fn streams_are_served_by_tasks_of_their_own() {
    let mut scene = Scene::new();
    let mut front = streams(&mut scene, 20, 19);
    scene.calls(on_stream(33, 19, 3), "/in-3");
    scene.calls(on_stream(51, 20, 5), "/in-5");
    scene.calls(on_stream(31, 19, 7), "/in-none");
    scene.calls(on_stream(31, 18, 3), "/elsewhere");
    scene.calls(task(20), "/reader");
    let answers = [1, 3, 5].map(h2::ok).concat();
    scene.world.pass(&mut front.1, &mut front.0, &answers);
    scene.calls(on_stream(33, 19, 3), "/after-3");
    let spans = scene.spans();
    spans.caused("/in-3", "/3", Link::Goroutine);
    spans.caused("/in-5", "/5", Link::Goroutine);
    spans.caused("/after-3", "/3", Link::Goroutine);
    for call in ["/in-none", "/elsewhere", "/reader"] {
        spans.uncaused(call);
    }
}

/// One task writes the requests of all.
#[test]
fn streams_that_one_task_writes() {
    let mut scene = Scene::new();
    let mut front = streams(&mut scene, 20, 19);
    let (mut client, mut server) = scene.world.connect(APP, BACK);
    client.work = task(70);
    scene.world.pass(&mut client, &mut server, &h2::hello());
    scene.world.pass(&mut server, &mut client, &h2::settings());
    let now = scene.world.now;
    for (stream, served) in [(1, 5), (3, 1)] {
        let work = handed(on_stream(33, 19, served), now).unwrap();
        scene.world.sends(&client, 70, stream, work);
    }
    let asked = [
        h2::get(1, "/for-5"),
        h2::get(3, "/for-1"),
        h2::get(5, "/not-said"),
    ];
    scene.world.pass(&mut client, &mut server, &asked.concat());
    for stream in [1, 3, 5] {
        scene.world.pass(&mut server, &mut client, &h2::ok(stream));
        scene
            .world
            .pass(&mut front.1, &mut front.0, &h2::ok(stream));
    }
    let spans = scene.spans();
    spans.caused("/for-5", "/5", Link::HandOff);
    spans.caused("/for-1", "/1", Link::HandOff);
    spans.uncaused("/not-said");
}

/// What is kept of a request goes in the end, whatever becomes of it.
#[test]
fn nothing_is_kept() {
    let mut scene = Scene::new();
    for round in 0..200 {
        let mut front = scene.client();
        scene.asked(&mut front, round, "/a");
        if round % 3 > 0 {
            scene.answers(&mut front);
        }
        scene.world.close(&front.1);
        scene.world.close(&front.0);
    }
    let spans = scene.world.after(10_000 * MS);
    assert!(!spans.is_empty());
    assert_eq!(scene.world.flow.counters().spans_open, 0);
    assert_eq!(scene.world.flow.kept(), (0, 0));
}

/// A context of CPython, or a greenlet, that works for what was read from a connection.
fn context(id: u64, connection: u64, left_ns: u64, request_ns: u64) -> Option<Work> {
    child(id, connection, left_ns, request_ns).map(|work| Work {
        context: true,
        ..work
    })
}

#[test]
fn contexts_work_for_connections() {
    let mut scene = Scene::new();
    let [one, two] = [1, 2].map(|cookie| CONNECTION_BIT | cookie);
    let (mut first, mut second) = (scene.client(), scene.client());
    let a = scene.asked(&mut first, one, "/a");
    let b = scene.asked(&mut second, two, "/b");
    scene.calls(context(a + 1, one, a + 1, a), "/for-a");
    scene.calls(context(9, two, b + 1, b), "/for-b");
    scene.calls(handed(context(9, two, b + 1, b), b + 2), "/queued-for-b");
    scene.answers(&mut first);
    let c = scene.asked(&mut first, one, "/c");
    scene.calls(context(10, one, c + 1, c), "/for-c");
    scene.calls(context(a + 1, one, a + 1, a), "/late-for-a");
    scene.calls(context(11, one, c + 1, a), "/made-after-c-began");
    scene.answers(&mut first);
    scene.answers(&mut second);
    let spans = scene.spans();
    spans.caused("/for-a", "/a", Link::AsyncContext);
    spans.caused("/for-b", "/b", Link::AsyncContext);
    spans.caused("/queued-for-b", "/b", Link::HandOff);
    spans.caused("/for-c", "/c", Link::AsyncContext);
    spans.caused("/late-for-a", "/a", Link::AsyncContext);
    spans.uncaused("/made-after-c-began");
}

/// What a task of Tokio has spawned, which may serve a connection for others later.
#[test]
fn tasks_that_outlive_their_request() {
    let mut scene = Scene::new();
    let spawned = |id, left_ns, request_ns| {
        child(id, 7, left_ns, request_ns).map(|work| Work {
            context: true,
            shared: true,
            ..work
        })
    };
    let mut front = scene.client();
    let a = scene.asked(&mut front, 7, "/a");
    scene.calls(spawned(8, a + 1, a), "/for-a");
    scene.answers(&mut front);
    scene.calls(spawned(8, a + 1, a), "/for-whom");
    scene.calls(handed(spawned(9, a + 1, a), a + 2), "/handed-over");
    let spans = scene.spans();
    spans.caused("/for-a", "/a", Link::AsyncContext);
    spans.uncaused("/for-whom");
    spans.caused("/handed-over", "/a", Link::HandOff);
}

/// What the first request has started goes on with work of others.
#[test]
fn a_worker_that_a_request_has_started() {
    let mut scene = Scene::new();
    let mut front = scene.client();
    let request = scene.asked(&mut front, 1, "/a");
    let left = scene.world.now;
    scene.calls(child(2, 1, left, request), "/first");
    scene.calls(child(2, 1, left, request), "/second");
    scene.answers(&mut front);
    scene.calls(child(2, 1, left, request), "/of-another");
    scene.calls(child(3, 1, left, request), "/later");
    scene.calls(child(3, 1, left, request), "/later-still");
    let spans = scene.spans();
    for (path, linked) in [
        ("/first", true),
        ("/second", true),
        ("/of-another", false),
        ("/later", true),
        ("/later-still", false),
    ] {
        let call = spans.of(Kind::Client, path);
        assert_eq!(call.parent.is_some(), linked, "{path}");
    }
}

/// What is read from a connection before the last answer may be worked on by whoever worked on that.
#[test]
fn overlapping_requests_of_a_connection() {
    let mut scene = Scene::new();
    let one = CONNECTION_BIT | 1;
    let mut front = scene.client();
    let a = scene.asked(&mut front, one, "/a");
    scene.calls(context(a + 1, one, a + 1, a), "/for-a");
    let b = scene.asked(&mut front, one, "/b");
    scene.calls(context(8, one, a + 1, a), "/for-either");
    scene.calls(context(9, one, b + 1, b), "/for-b");
    scene.answers(&mut front);
    scene.answers(&mut front);
    let spans = scene.spans();
    spans.caused("/for-a", "/a", Link::AsyncContext);
    spans.uncaused("/for-either");
    spans.uncaused("/for-b");
}

/// Two tasks have given something to the same transport: whose stream is whose is not known.
#[test]
fn streams_that_were_given_at_once() {
    let mut scene = Scene::new();
    let mut front = scene.client();
    let one = CONNECTION_BIT | 1;
    let a = scene.asked(&mut front, one, "/a");
    let (mut client, mut server) = scene.world.connect(APP, BACK);
    client.work = context(8, one, a + 1, a);
    scene.world.pass(&mut client, &mut server, &h2::hello());
    scene.world.pass(&mut server, &mut client, &h2::settings());
    scene
        .world
        .pass(&mut client, &mut server, &h2::get(1, "/alone"));
    client.work = client.work.map(|work| Work {
        shared: true,
        handed_ns: Some(a + 2),
        ..work
    });
    let asked = [h2::get(3, "/one-of-two"), h2::get(5, "/other-of-two")];
    scene.world.pass(&mut client, &mut server, &asked.concat());
    for stream in [1, 3, 5] {
        scene.world.pass(&mut server, &mut client, &h2::ok(stream));
    }
    scene.answers(&mut front);
    let spans = scene.spans();
    spans.caused("/alone", "/a", Link::AsyncContext);
    spans.uncaused("/one-of-two");
    spans.uncaused("/other-of-two");
}
