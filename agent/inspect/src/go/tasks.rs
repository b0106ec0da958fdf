//! Where a Go program keeps the ids of its goroutines, and where they are made and hand work over.
//!
//! The offsets in `struct g` are read from the code of `runtime.newproc1`, which every version has:
//!
//! ```text
//! newg.parentGoid = callergp.goid      mov rcx, [rax + goid]; ..; mov [rdx + parentGoid], rcx
//! newg.goid = pp.goidcache             mov rcx, [r8 + cache]; mov [rdi + goid], rcx
//! pp.goidcache++                       inc [r8 + cache]
//! ```
//! Both must say the same of `goid`. Before Go 1.21, who has made a goroutine is told by what its thread runs, and where
//! that stands by `runtime.systemstack`, which comes back to it:
//!
//! ```text
//! g.m                                  mov rbx, [rax + m]
//! g != m.curg?                         cmp rax, [rbx + curg]
//! g = m.curg                           mov rax, [rbx + curg]
//! ```

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};

use super::table::{Range, Table};
use crate::code::class;
use crate::elf::Image;
use crate::{Class, Problem, Site};

/// How the goroutines of a program are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goroutines {
    /// Offset of `goid` in `struct g`, bytes.
    pub id: u32,
    /// Offset of `parentGoid`; `None` before Go 1.21.
    pub parent: Option<u32>,
    /// Where there is none.
    pub creator: Option<Creator>,
    /// Where a new goroutine stands in `rbx`.
    pub created: Option<Site>,
    /// Where a method's receiver stands in `rax` and the goroutine in `r14`: work is given to it.
    pub gives: Vec<Site>,
    /// The same, where what was given is about to be sent.
    pub takes: Vec<Site>,
    /// Where a goroutine, in `r14`, begins to serve one connection for whoever uses that.
    pub plumbing: Vec<Site>,
    /// Where a goroutine serves a stream of HTTP/2, whose `*responseWriter` stands in `rbx`.
    pub serves: Vec<Site>,
    /// grpc-go: where a connection's reader has a request's frame in `rdi` or `rbx`.
    pub reads: Vec<Site>,
    /// grpc-go: where something for a connection's writer stands in `rdi`.
    pub queues: Vec<Site>,
    /// grpc-go: where a connection's writer has a request in `rbx`.
    pub sends: Vec<Site>,
    /// What is not known, and why: whole sentences for the user.
    pub problems: Vec<Problem>,
}

/// The way from a thread's own `g` to the goroutine that it runs: offsets of `g.m` and of `m.curg`, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creator {
    pub thread: u32,
    pub running: u32,
}

const NEW: &str = "runtime.newproc1";
const SWITCH: &str = "runtime.systemstack";
const CREATE: &str = "runtime.newproc.func1";
const QUEUE: &[u8] = b"runtime.runqput";
/// In every program that uses sockets.
const RECEIVE: &str = "net.(*netFD).Read";
/// One at a time uses a connection: who has called the first when the second is called.
const GIVES: &str = "net/http.(*persistConn).roundTrip";
const TAKES: &str = "net/http.persistConnWriter.Write";
const SERVES: [&str; 2] = [
    "net/http.(*http2serverConn).runHandler",
    "golang.org/x/net/http2.(*serverConn).runHandler",
];
const READS: [&str; 1] =
    ["google.golang.org/grpc/internal/transport.(*http2Server).operateHeaders"];
const QUEUES: &str = "google.golang.org/grpc/internal/transport.(*controlBuffer).executeAndPut";
/// The first since 2026, the other one before.
const SENDS: [&str; 2] = [
    "google.golang.org/grpc/internal/transport.(*loopyWriter).clientHeaderHandler",
    "google.golang.org/grpc/internal/transport.(*loopyWriter).headerHandler",
];
/// What these create and send is not for whom they were created.
const PLUMBING: [&str; 8] = [
    "net/http.(*persistConn).writeLoop",
    "net/http.(*persistConn).readLoop",
    "net/http.(*Transport).dialConnFor",
    "net/http.(*http2clientConnReadLoop).run",
    "golang.org/x/net/http2.(*clientConnReadLoop).run",
    "google.golang.org/grpc/internal/transport.(*loopyWriter).run",
    "google.golang.org/grpc/internal/transport.(*http2Client).reader",
    "google.golang.org/grpc.(*addrConn).connect",
];
/// The functions looked for have a tenth of it.
const MAX_BYTES: u64 = 32 << 10;
/// Fields of `struct g` before `goid` alone take more, the whole of it less.
const FIELDS: std::ops::Range<u64> = 0x60..0x400;
/// Instructions between a load and the store of what was loaded.
const MAX_BETWEEN: usize = 4;
/// Instructions from a function's start to the branch of the check of its stack.
const MAX_TO_CHECK: usize = 4;
const STACK_GUARD: u64 = 0x10;

/// `None`: the program uses no sockets. The error is the reason for the user.
pub(super) fn find(
    image: &Image<'_>,
    table: &Table<'_>,
    text: impl Fn(u64) -> Option<u64>,
) -> Result<Option<Goroutines>, &'static str> {
    const ABSENT: &str = "runtime.newproc1 is not in its table of functions";
    let [new, create, switch, gives, takes, receive] =
        table.functions([NEW, CREATE, SWITCH, GIVES, TAKES, RECEIVE]);
    if receive.is_none() {
        return Ok(None);
    }
    let new = new.ok_or(ABSENT)?;
    let text = text(new.start).ok_or("its code's start is not found (moduledata)")?;
    let code = |range: Range| Body::read(image, text, range);
    let (id, parent) = code(new)
        .and_then(|code| offsets(&code.0))
        .ok_or("the code of runtime.newproc1 has an unknown shape")?;
    let creator = switch
        .filter(|_| parent.is_none())
        .and_then(code)
        .and_then(|code| creator(&code.0));
    let mut found = Goroutines {
        id,
        parent,
        creator,
        ..Goroutines::default()
    };
    let problem = |text: &str| Problem(text.to_owned());
    let callee = |target: u64| table.name(target.checked_sub(text)?);
    found.created = create
        .filter(|_| parent.is_some() || creator.is_some())
        .and_then(code)
        .and_then(|code| queued(&code.0, callee))
        .and_then(|at| site(image, &at));
    if found.created.is_none() {
        found.problems.push(problem(
            "where goroutines are made is not found: requests of created ones are not linked",
        ));
    }
    let entry = |range: Range| check(&code(range)?.0).and_then(|at| site(image, &at));
    match (gives, takes) {
        (None, None) => {}
        (gives, takes) => match (gives.and_then(entry), takes.and_then(entry)) {
            (Some(gives), Some(takes)) => {
                found.gives.push(gives);
                found.takes.push(takes);
            }
            _ => found.problems.push(problem(
                "where net/http hands requests to its writers is not found: they are not linked",
            )),
        },
    }
    let sites = |functions: &[Option<Range>]| -> Vec<Site> {
        let known = functions.iter().copied().flatten();
        known.filter_map(entry).collect()
    };
    found.serves = sites(&table.functions(SERVES));
    if parent.is_none() && !found.serves.is_empty() {
        found.serves.clear();
        found.problems.push(problem(
            "goroutines do not know their creator (Go before 1.21): what net/http serves over HTTP/2 is not linked",
        ));
    }
    found.reads = sites(&table.functions(READS));
    let [queues] = table.functions([QUEUES]);
    let sends = sites(&table.functions(SENDS));
    if let (Some(queues), [send, ..]) = (queues.and_then(entry), &sends[..]) {
        found.queues.push(queues);
        found.sends.push(*send);
    } else if queues.is_some() {
        found.problems.push(problem(
            "where grpc-go hands calls to its writers is not found: they are not linked",
        ));
    }
    let plumbing = table.functions(PLUMBING).into_iter().flatten();
    for function in plumbing {
        match entry(function) {
            Some(site) => found.plumbing.push(site),
            // Else it would seem to work for whoever has caused the connection.
            None => {
                found.created = None;
                found.problems.push(problem(
                    "where a connection's own goroutines begin is not found: requests of created ones are not linked",
                ));
            }
        }
    }
    Ok(Some(found))
}

/// Instructions of a function, one after the other. Go has no data amid its code.
struct Body(Vec<Instruction>);

impl Body {
    fn read(image: &Image<'_>, text: u64, range: Range) -> Option<Self> {
        if range.bytes > MAX_BYTES {
            return None;
        }
        let address = text.checked_add(range.start)?;
        let code = image
            .code(address)?
            .get(..usize::try_from(range.bytes).ok()?)?;
        let decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let all: Vec<_> = decoder.into_iter().collect();
        let whole = all.iter().all(|it| it.code() != Code::INVALID);
        whole.then_some(Self(all))
    }
}

/// Of `goid` and `parentGoid` in `struct g`.
fn offsets(code: &[Instruction]) -> Option<(u32, Option<u32>)> {
    let copies: Vec<_> = copies(code).collect();
    let counted = |offset: u64| {
        code.iter().any(|it| {
            it.mnemonic() == Mnemonic::Inc
                && it.op0_kind() == OpKind::Memory
                && it.memory_base() != Register::RIP
                && it.memory_displacement64() == offset
        })
    };
    let mut ids = copies
        .iter()
        .filter(|copy| copy.from != copy.to && counted(copy.from))
        .map(|copy| copy.to);
    let id = ids.next()?;
    if ids.any(|other| other != id) {
        return None;
    }
    let mut parents = copies
        .iter()
        .filter(|copy| copy.from == id && copy.to > id)
        .map(|copy| copy.to);
    let parent = parents.next();
    if parents.any(|other| Some(other) != parent) {
        return None;
    }
    let parent = parent.map(u32::try_from).transpose().ok()?;
    Some((u32::try_from(id).ok()?, parent))
}

/// Of `systemstack`, which is written in assembly.
fn creator(code: &[Instruction]) -> Option<Creator> {
    let offset = |it: &Instruction, base: Register| {
        let is = it.memory_base() == base && it.memory_index() == Register::None;
        is.then(|| u32::try_from(it.memory_displacement64()).ok())?
    };
    let loads = |to: Register, base: Register| {
        let mut offsets = code
            .iter()
            .filter(move |it| it.code() == Code::Mov_r64_rm64 && it.op0_register() == to)
            .filter(|it| it.op1_kind() == OpKind::Memory)
            .filter_map(move |it| offset(it, base));
        let first = offsets.next()?;
        offsets.all(|other| other == first).then_some(first)
    };
    let thread = loads(Register::RBX, Register::RAX)?;
    let running = loads(Register::RAX, Register::RBX)?;
    let compared = code
        .iter()
        .any(|it| it.mnemonic() == Mnemonic::Cmp && offset(it, Register::RBX) == Some(running));
    (compared && running != 0).then_some(Creator { thread, running })
}

/// A word that is taken from one structure and put into another one, by offsets.
struct Copy {
    from: u64,
    to: u64,
}

fn copies(code: &[Instruction]) -> impl Iterator<Item = Copy> + '_ {
    let structure = |it: &Instruction| {
        ![Register::RIP, Register::RSP, Register::None].contains(&it.memory_base())
            && it.memory_index() == Register::None
            && FIELDS.contains(&it.memory_displacement64())
    };
    code.iter().enumerate().filter_map(move |(at, load)| {
        if load.code() != Code::Mov_r64_rm64
            || load.op1_kind() != OpKind::Memory
            || !structure(load)
        {
            return None;
        }
        let store = code[at + 1..].iter().take(MAX_BETWEEN).find(|it| {
            it.code() == Code::Mov_rm64_r64
                && it.op0_kind() == OpKind::Memory
                && it.op1_register() == load.op0_register()
        })?;
        structure(store).then(|| Copy {
            from: load.memory_displacement64(),
            to: store.memory_displacement64(),
        })
    })
}

/// The call that queues the new goroutine, which stands in `rbx`: nothing else is called since it was
/// made.
fn queued<'t>(
    code: &[Instruction],
    callee: impl Fn(u64) -> Option<&'t [u8]>,
) -> Option<Instruction> {
    let calls = |it: &Instruction, name: &[u8]| {
        it.flow_control() == FlowControl::Call && callee(it.near_branch_target()) == Some(name)
    };
    let made = code.iter().position(|it| calls(it, NEW.as_bytes()))?;
    let mut held = false;
    for it in &code[made + 1..] {
        if calls(it, QUEUE) {
            return held.then_some(*it);
        }
        if it.flow_control() != FlowControl::Next {
            return None;
        }
        let moves = it.code() == Code::Mov_rm64_r64 || it.code() == Code::Mov_r64_rm64;
        if moves && it.op0_register() == Register::RBX {
            held = it.op1_register() == Register::RAX;
        } else if it.op0_kind() == OpKind::Register
            && it.op0_register().full_register() == Register::RBX
        {
            held = false;
        }
    }
    None
}

/// The branch of the check of the stack, with which a function begins: its arguments stand where they
/// were passed. A call passes it once more when its stack has been made larger.
fn check(code: &[Instruction]) -> Option<Instruction> {
    let first = code.get(..MAX_TO_CHECK)?;
    let compare = first.iter().position(|it| {
        it.mnemonic() == Mnemonic::Cmp
            && it.op1_kind() == OpKind::Memory
            && it.memory_base() == Register::R14
            && it.memory_index() == Register::None
            && it.memory_displacement64() == STACK_GUARD
    })?;
    let branch = code.get(compare + 1)?;
    (branch.flow_control() == FlowControl::ConditionalBranch).then_some(*branch)
}

fn site(image: &Image<'_>, at: &Instruction) -> Option<Site> {
    let bytes = image.code(at.ip())?.get(..at.len())?;
    let class = class(bytes);
    (class == Class::Emulated).then_some(Site {
        offset: image.offset(at.ip())?,
        class,
    })
}

#[cfg(test)]
mod tests {
    use iced_x86::Instruction;

    use super::{Creator, check, creator, offsets, queued};
    use crate::code::tests::decoded;

    const AT: u64 = 0x40_0000;

    fn code(hex: &str) -> Vec<Instruction> {
        decoded(hex, AT)
    }

    /// Of `runtime.newproc1`, as Go has compiled it.
    #[test]
    fn offsets_of_ids() {
        // mov rax, [rsp+..]; mov rcx, [rax+goid]; mov rdx, [rsp+..]; mov [rdx+parentGoid], rcx
        const PARENT_21: &str = "488b442440 488b8898000000 488b542418 48898a10010000";
        const PARENT_26: &str = "488b442468 488b8898000000 488b542440 48898a18010000";
        // mov rcx, [rsi+cache]; mov [rax+goid], rcx; inc [rsi+cache]
        const ID_21: &str = "488b8e80010000 48898898000000 48ff8680010000";
        // Something is called in between.
        const ID_26: &str =
            "498b9080010000 48899798000000 4889f8 bb06000000 4489c9 488b542448 48ff8280010000";
        // Profiler labels: the same offset in both.
        const LABELS: &str = "488bb658010000 4889b758010000";
        #[rustfmt::skip]
        let cases = [
            ([PARENT_21, LABELS, ID_21].concat(), Some((0x98, Some(0x110)))),
            ([PARENT_26, LABELS, ID_26].concat(), Some((0x98, Some(0x118)))),
            ([LABELS, ID_21].concat(), Some((0x98, None))),
            ([PARENT_21, LABELS].concat(), None),
            // Two parents.
            ([PARENT_21, PARENT_26, ID_21].concat(), None),
            (String::new(), None),
        ];
        for (hex, expected) in cases {
            assert_eq!(offsets(&code(&hex)), expected, "{hex}");
        }
    }

    /// `runtime.systemstack` of Go 1.20.
    #[test]
    fn who_runs_on_a_thread() {
        // mov rax, [tls g]; mov rbx, [rax+m]; cmp rax, [rbx+gsignal]; je; mov rdx, [rbx]; cmp rax, rdx; je;
        // cmp rax, [rbx+curg]; jne; call
        const TO: &str = "488b7c2408 64488b0425f8ffffff 488b5830 483b4350 745b 488b13 4839d0 7453 483b83c0000000 7552 e8d2f1ffff";
        // mov [tls g], rdx; mov r14, rdx; mov rbx, [rdx+sp]; mov rsp, rbx; mov rdx, rdi; mov rdi, [rdi]; call rdi
        const THERE: &str = "6448891425f8ffffff 4989d6 488b5a38 4889dc 4889fa 488b3f ffd7";
        // mov rax, [tls g]; mov rbx, [rax+m]; mov rax, [rbx+curg]; mov [tls g], rax; mov rsp, [rax+sp]; ret
        const BACK: &str =
            "64488b0425f8ffffff 488b5830 488b83c0000000 6448890425f8ffffff 488b6038 c3";
        const OTHER_THREAD: &str = "488b5838";
        let found = Some(Creator {
            thread: 0x30,
            running: 0xc0,
        });
        for (parts, expected) in [
            (&[TO, THERE, BACK][..], found),
            (&[TO, THERE], None),
            (&[THERE, BACK], None),
            (&[TO, OTHER_THREAD, BACK], None),
        ] {
            let hex = parts.join(" ");
            assert_eq!(creator(&code(&hex)), expected, "{hex}");
        }
    }

    /// Of `runtime.newproc.func1`.
    #[test]
    fn where_a_goroutine_is_queued() {
        let name = |target: u64| match target {
            0x40_1005 => Some(&b"runtime.newproc1"[..]),
            0x40_2000.. => Some(&b"runtime.runqput"[..]),
            _ => None,
        };
        let at = |hex: &str| queued(&code(hex), name).map(|it| it.ip() - AT);
        // call newproc1; mov rdx, [r14+30h]; mov rbx, rax; mov ecx, 1; call runqput
        let whole = "e800100000 498b5630 4889c3 b901000000 e800200000";
        assert_eq!(at(whole), Some(17));
        assert_eq!(
            at("e800100000 498b5630 b901000000 e800200000"),
            None,
            "not in rbx"
        );
        assert_eq!(
            at("e800100000 4889c3 31db e800200000"),
            None,
            "no longer in rbx"
        );
        assert_eq!(at("4889c3 e800200000"), None, "not made");
    }

    #[test]
    fn where_a_function_begins() {
        let at = |hex: &str| check(&code(hex)).map(|it| it.ip() - AT);
        assert_eq!(at("493b6610 7648 55 4889e5"), Some(4), "a small frame");
        assert_eq!(
            at("4c8d6424a0 4d3b6610 0f8600020000 55"),
            Some(9),
            "a large one"
        );
        assert_eq!(at("55 4889e5 4883ec18 c3"), None, "no check");
    }
}
