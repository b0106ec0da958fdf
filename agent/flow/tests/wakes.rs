//! Links by who wakes whom among the threads of a JVM: who has a call sent, and what its response goes on with.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{End, MS, OK, World, get};
use weft_abi::CONNECTION_BIT;
use weft_flow::record::{Origin, Record, Root, Sends, Token, Work};
use weft_flow::span::{Kind, Link, Span};

const CLIENT: (u32, u32) = (100, 100);
const APP: (u32, u32) = (300, READER);
const BACK: (u32, u32) = (400, 401);
const READER: u32 = 301;
const SENDER: u32 = 302;
const OTHER: u32 = 303;

struct Scene {
    world: World,
    back: (End, End),
    requests: Vec<Request>,
    spans: Vec<Span>,
}

/// A request that the application has read.
struct Request {
    front: (End, End),
    root: Root,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new();
        let mut back = world.connect(APP, BACK);
        (back.0.epoll, back.0.tid) = (true, SENDER);
        Self {
            world,
            back,
            requests: Vec::new(),
            spans: Vec::new(),
        }
    }

    fn asked(&mut self, path: &str) {
        self.asked_of(READER, path);
    }

    fn asked_of(&mut self, reader: u32, path: &str) {
        let mut front = self.world.connect(CLIENT, APP);
        front.1.tid = reader;
        let task = CONNECTION_BIT | front.1.cookie;
        front.1.work = Some(work(task, None));
        self.world.pass(&mut front.0, &mut front.1, &get(path));
        let root = Root {
            task,
            left_ns: None,
            request: Token::At(self.world.now),
        };
        self.requests.push(Request { front, root });
    }

    /// A call is sent for the first request and answered; its response goes on with these.
    fn calls(&mut self, resumed: &[(usize, Wakes)]) {
        let sender = self.requests[0].root;
        let sent_ns = self.world.now;
        self.back.0.work = Some(Work {
            handed_ns: Some(sent_ns),
            resumes: true,
            ..work(sender.task, Some(sender))
        });
        let (client, server) = &mut self.back;
        self.world.exchange(client, server, "/back");
        for &(request, wakes) in resumed {
            let root = self.requests[request].root;
            let record = Record::Resumed(Sends {
                origin: Origin {
                    tid: OTHER,
                    tgid: APP.0,
                    time_ns: self.world.now,
                },
                writer: self.back.0.cookie,
                stream: 0,
                work: Work {
                    handed_ns: Some(sent_ns),
                    thread: wakes == Wakes::Reader,
                    ..work(root.task, Some(root))
                },
            });
            self.world.flow.record(&record);
        }
    }

    /// So long that the call is judged.
    fn waits(&mut self) {
        self.spans.extend(self.world.after(100 * MS));
    }

    fn answers(&mut self, request: usize, tid: u32) {
        let (client, server) = &mut self.requests[request].front;
        server.tid = tid;
        self.world.pass(server, client, OK);
    }

    #[track_caller]
    fn check(mut self, linked: bool, link: Link) {
        self.waits();
        let mut spans = self.spans;
        spans.extend(self.world.settled());
        let of = |kind, path: &[u8]| {
            let mut all = spans.iter().filter(|span| span.process.tgid == APP.0);
            all.find(|span| span.kind == kind && span.exchange.target == path)
        };
        let call = of(Kind::Client, b"/back").unwrap();
        let first = of(Kind::Server, b"/first").unwrap();
        let expected = (linked.then_some(first.span_id), link);
        assert_eq!((call.parent, call.link), expected);
    }
}

/// Who is woken by what has read the response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wakes {
    /// The thread that has read the request.
    Reader,
    /// One that answers it.
    Answering,
}

fn work(task: u64, root: Option<Root>) -> Work {
    Work {
        task,
        context: true,
        shared: false,
        resumes: false,
        thread: true,
        handed_ns: None,
        root,
    }
}

#[test]
fn what_its_response_goes_on_with_agrees() {
    for (wakes, answers) in [(Wakes::Reader, READER), (Wakes::Answering, OTHER)] {
        let mut scene = Scene::new();
        scene.asked("/first");
        scene.calls(&[(0, wakes)]);
        scene.answers(0, answers);
        scene.check(true, Link::HandOff);
    }
}

/// The thread waits on, and answers later.
#[test]
fn who_is_woken_answers_after_long() {
    let mut scene = Scene::new();
    scene.asked("/first");
    scene.calls(&[(0, Wakes::Reader)]);
    scene.waits();
    scene.answers(0, READER);
    scene.check(true, Link::Thread);
}

/// The thread that has read the request was woken for something else.
#[test]
fn who_is_woken_does_not_answer() {
    for late in [false, true] {
        let mut scene = Scene::new();
        scene.asked("/first");
        scene.calls(&[(0, Wakes::Reader)]);
        if late {
            scene.waits();
        }
        scene.answers(0, OTHER);
        scene.check(false, Link::None);
    }
}

/// The thread that has sent the call reads the response itself; where it is woken, so is whoever sends for others.
#[test]
fn what_it_reads_itself_may_be_another_ones() {
    for (resumed, linked, link) in [
        (&[][..], true, Link::Thread),
        (&[(0, Wakes::Reader)], false, Link::None),
        (&[(1, Wakes::Reader)], false, Link::None),
    ] {
        let mut scene = Scene::new();
        scene.asked("/first");
        scene.asked_of(OTHER, "/second");
        scene.back.0.tid = READER;
        scene.back.0.epoll = false;
        scene.calls(resumed);
        scene.answers(0, READER);
        scene.answers(1, OTHER);
        scene.check(linked, link);
    }
}

#[test]
fn one_of_both_is_not_enough() {
    for resumed in [
        &[][..],
        &[(1, Wakes::Answering)],
        &[(0, Wakes::Answering), (1, Wakes::Answering)],
    ] {
        let mut scene = Scene::new();
        scene.asked("/first");
        scene.asked("/second");
        scene.calls(resumed);
        scene.answers(0, OTHER);
        scene.answers(1, OTHER);
        scene.check(false, Link::None);
    }
}
