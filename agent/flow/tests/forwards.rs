//! What event-loop proxies pass on, and when nothing can be said of it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{End, OK, World, get};
use weft_flow::span::{Kind, Link, Span};

const CLIENT: (u32, u32) = (100, 100);
const PROXY: (u32, u32) = (300, 301);
const OTHER_THREAD: (u32, u32) = (300, 302);
const BACK: (u32, u32) = (400, 401);

const FAILED: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";

struct Scene {
    world: World,
    spans: Vec<Span>,
}

impl Scene {
    fn new() -> Self {
        Self {
            world: World::new(),
            spans: Vec::new(),
        }
    }

    fn proxy(end: &mut End) {
        end.epoll = true;
        end.forwards = true;
    }

    fn asked(&mut self, proxy: (u32, u32), path: &str) -> (End, End) {
        let (mut client, mut server) = self.world.connect(CLIENT, proxy);
        Self::proxy(&mut server);
        self.world.pass(&mut client, &mut server, &get(path));
        (client, server)
    }

    fn answers(&mut self, (client, server): &mut (End, End)) {
        self.world.pass(server, client, OK);
    }

    fn passes_on(&mut self, proxy: (u32, u32), path: &str) -> (End, End) {
        let (mut client, mut server) = self.world.connect(proxy, BACK);
        Self::proxy(&mut client);
        self.world.pass(&mut client, &mut server, &get(path));
        (client, server)
    }

    /// Of each request that left the proxy, in order: which request that came to it is its parent.
    fn check(mut self, expected: &[Option<usize>]) {
        self.spans.extend(self.world.settled());
        self.world.now += 100_000_000_000;
        self.spans.extend(self.world.settled());
        let of = |kind: Kind| {
            let mut spans: Vec<&Span> = self
                .spans
                .iter()
                .filter(|span| span.process.tgid == PROXY.0 && span.kind == kind)
                .collect();
            spans.sort_by_key(|span| span.start_ns);
            spans
        };
        let (servers, clients) = (of(Kind::Server), of(Kind::Client));
        let parents: Vec<Option<usize>> = clients
            .iter()
            .map(|client| {
                let parent = client.parent?;
                assert_eq!(client.link, Link::Forwarded);
                let found = servers.iter().position(|server| server.span_id == parent);
                Some(found.unwrap())
            })
            .collect();
        assert_eq!(parents, expected);
    }
}

#[test]
fn whatever_the_order() {
    let mut scene = Scene::new();
    let mut fronts: Vec<_> = ["/a", "/b", "/c"]
        .into_iter()
        .map(|path| scene.asked(PROXY, path))
        .collect();
    for path in ["/b", "/c", "/a"] {
        scene.passes_on(PROXY, path);
    }
    for front in &mut fronts {
        scene.answers(front);
    }
    scene.check(&[Some(1), Some(2), Some(0)]);
}

#[test]
fn one_after_the_other_with_the_same_target() {
    let mut scene = Scene::new();
    let mut one = scene.asked(PROXY, "/a");
    scene.passes_on(PROXY, "/a");
    let mut other = scene.asked(PROXY, "/a");
    scene.passes_on(PROXY, "/a");
    scene.answers(&mut one);
    scene.answers(&mut other);
    scene.check(&[Some(0), Some(1)]);
}

#[test]
fn two_that_fit_are_one_too_many() {
    let mut scene = Scene::new();
    let mut one = scene.asked(PROXY, "/a");
    let mut other = scene.asked(PROXY, "/a");
    scene.passes_on(PROXY, "/a");
    scene.passes_on(PROXY, "/a");
    assert_eq!(scene.world.flow.counters().forwards_ambiguous, 2);
    scene.answers(&mut one);
    scene.answers(&mut other);
    scene.check(&[None, None]);
}

#[test]
fn only_what_was_read_here_and_is_not_answered() {
    let mut scene = Scene::new();
    let mut one = scene.asked(PROXY, "/a");
    scene.passes_on(OTHER_THREAD, "/a");
    scene.passes_on(PROXY, "/health");
    scene.answers(&mut one);
    scene.passes_on(PROXY, "/a");
    scene.check(&[None, None, None]);
}

#[test]
fn a_copy_that_is_sent_elsewhere_is_not_said_to_be_one() {
    let mut scene = Scene::new();
    let mut one = scene.asked(PROXY, "/a");
    scene.passes_on(PROXY, "/a");
    scene.passes_on(PROXY, "/a");
    scene.answers(&mut one);
    scene.check(&[Some(0), None]);
}

#[test]
fn sent_again_when_a_server_has_failed() {
    let mut scene = Scene::new();
    let mut one = scene.asked(PROXY, "/a");
    let (mut proxy, mut back) = scene.passes_on(PROXY, "/a");
    scene.world.pass(&mut back, &mut proxy, FAILED);
    scene.passes_on(PROXY, "/a");
    scene.answers(&mut one);
    scene.check(&[Some(0), Some(0)]);
}

#[test]
fn another_that_came_while_a_server_failed_is_one_too_many() {
    let mut scene = Scene::new();
    let mut one = scene.asked(PROXY, "/a");
    let (mut proxy, mut back) = scene.passes_on(PROXY, "/a");
    scene.world.pass(&mut back, &mut proxy, FAILED);
    let mut other = scene.asked(PROXY, "/a");
    scene.passes_on(PROXY, "/a");
    scene.answers(&mut one);
    scene.answers(&mut other);
    scene.check(&[Some(0), None]);
}

#[test]
fn nothing_is_sent_again_whose_answer_has_begun() {
    let mut scene = Scene::new();
    let (mut client, mut server) = scene.asked(PROXY, "/a");
    let (mut proxy, mut back) = scene.passes_on(PROXY, "/a");
    let (head, body) = OK.split_at(OK.len() - 1);
    scene.world.pass(&mut back, &mut proxy, OK);
    scene.world.pass(&mut server, &mut client, head);
    scene.passes_on(PROXY, "/a");
    scene.world.pass(&mut server, &mut client, body);
    scene.check(&[Some(0), None]);
}

#[test]
fn the_closest_target_counts() {
    let mut scene = Scene::new();
    let mut fronts: Vec<_> = ["/x/1", "/y/1", "/z/1"]
        .into_iter()
        .map(|path| scene.asked(PROXY, path))
        .collect();
    scene.passes_on(PROXY, "/y/1");
    scene.passes_on(PROXY, "/base/x/1");
    scene.passes_on(PROXY, "/other/1");
    for front in &mut fronts {
        scene.answers(front);
    }
    scene.check(&[Some(1), Some(0), Some(2)]);
}
