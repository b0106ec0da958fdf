//! What is found in a file.

use crate::{Jvm, Node, Proxy, Python, Tokio, go};

/// What one ELF file contains of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// `NT_GNU_BUILD_ID`, else Go's build id; empty when the file has neither.
    pub build_id: Vec<u8>,
    /// What a Go program says of itself.
    pub go: Option<go::Program>,
    /// Of a Go program: how its goroutines are told apart, or why they cannot be.
    pub goroutines: Option<Result<go::Goroutines, &'static str>>,
    /// What the program is, if it is one of these.
    pub proxy: Option<Proxy>,
    /// What it has of CPython, or why that is of no use.
    pub python: Option<Result<Python, &'static str>>,
    /// What it tells of a JVM's threads, or why that is of no use.
    pub jvm: Option<Result<Jvm, &'static str>>,
    /// What it has of Tokio, or why that is of no use.
    pub tokio: Option<Result<Box<Tokio>, &'static str>>,
    /// What it has of Node.js, or why that is of no use.
    pub node: Option<Result<Box<Node>, &'static str>>,
    /// More than one where a program has several linked in.
    pub libraries: Vec<Library>,
    /// Of a dynamic loader: offset in the file of the function that it calls when it has mapped
    /// libraries, for the sake of debuggers.
    pub mapped: Option<u64>,
}

/// One TLS library in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    pub stack: Stack,
    /// As the library names itself: `3.0.19`, `go1.22.5`; `None` where nothing in the file tells.
    pub version: Option<String>,
    pub finding: Finding,
    pub functions: Vec<Function>,
    /// What cannot be watched, and why: whole sentences for the user.
    pub problems: Vec<Problem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stack {
    OpenSsl,
    BoringSsl,
    GnuTls,
    Go,
    Rustls,
}

/// By which evidence the functions were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The file's symbol tables name them.
    Symbols,
    /// Go's own table of functions (`.gopclntab`) names them.
    GoTable,
    /// Strings, relocations and the shape of the code: to be verified on live calls.
    Code,
}

/// A function through which plaintext passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name, for people.
    pub name: &'static str,
    pub direction: Direction,
    /// Where its arguments are read.
    pub entry: Site,
    pub arguments: Arguments,
    /// Where its outcome is read.
    pub outcome: Outcome,
    pub returns: Return,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Hands plaintext to the program.
    Read,
    /// Takes plaintext from the program.
    Write,
}

/// Registers that hold the arguments at the entry site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The session's object (`SSL *`, `gnutls_session_t`, `*tls.Conn`).
    pub session: Register,
    pub buffer: Register,
    /// Bytes of the buffer. Where the function declares an `int`, only the lower 32 bits count.
    pub length: Register,
}

/// What a call says of the bytes it moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The value in this register at the return site: bytes moved; zero or negative: none. Only the
    /// lower 32 bits count, with their sign: C functions return `int`.
    Bytes(Register),
    /// The value (`int`) in the first register at the return site is 1 on success; bytes moved stand
    /// (u64) where the second register pointed to at the entry site.
    Pointer { success: Register, bytes: Register },
    /// rustls: so many words behind what `buffer` points to stands its `Payload`, which is a word, the
    /// address of the bytes and their number. All of them are handed over, which is certain at the
    /// entry: there is no return site.
    Payload(u8),
    /// rustls: `buffer` points to its `OutboundChunks`, four words. If the first is zero, the second
    /// and third are the address of the bytes and their number. Else the first two are the address
    /// and the length of an array of such pairs, and of all their bytes those from the third word
    /// up to the fourth are meant. The value in the register at the return site (`u64`) says how
    /// many of them were taken.
    Chunks(Register),
    /// As `Bytes`, but the value (`i64`) stands on the stack, so many bytes above its pointer.
    Stack(u32),
}

/// Where the outcome is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Return {
    /// Every successful call passes exactly one of these.
    Sites(Vec<Site>),
    /// A call moves its buffer in parts, one after the other, and passes one of these for each.
    /// Each says where its own outcome stands; the parts add up to the call's.
    Parts(Vec<Part>),
    /// Only a return probe sees it; on the function's first instruction.
    Probe { function: Site },
    /// A call passes one of the sites, or ends in another function, whose return only a return probe
    /// on that one's first instruction sees. Others call that function, too: what it returns counts
    /// only while a call of this one is open.
    Either { sites: Vec<Site>, function: Site },
}

/// Where the outcome of a part of a call is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub site: Site,
    pub outcome: Outcome,
}

/// An instruction to put a probe on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// Offset in the file, as the kernel wants it.
    pub offset: u64,
    pub class: Class,
}

/// What a probe on the instruction costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The kernel emulates it (`push`, `nop`, `jmp`, `jcc`, `call`): about half a microsecond.
    Emulated,
    /// It is executed out of line in single steps: many times that.
    Stepped,
}

/// A general register, by its place in the saved registers (`struct pt_regs` on x86-64, in words).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Register {
    R15 = 0,
    R14 = 1,
    R13 = 2,
    R12 = 3,
    Rbp = 4,
    Rbx = 5,
    R11 = 6,
    R10 = 7,
    R9 = 8,
    R8 = 9,
    Rax = 10,
    Rcx = 11,
    Rdx = 12,
    Rsi = 13,
    Rdi = 14,
    Rsp = 19,
}

/// A library was recognised, and yet something of it cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(pub String);

// === impl Function ===

impl Function {
    /// Whether the kernel emulates each instruction that its probes stand on.
    pub fn is_cheap(&self) -> bool {
        self.returns
            .sites()
            .chain([self.entry])
            .all(|site| site.class == Class::Emulated)
    }
}

// === impl Return ===

impl Return {
    /// Every instruction that a probe stands on.
    pub fn sites(&self) -> impl Iterator<Item = Site> {
        let (sites, function) = match self {
            Self::Sites(sites) => (sites.as_slice(), None),
            Self::Parts(_) => (&[][..], None),
            Self::Probe { function } => (&[][..], Some(*function)),
            Self::Either { sites, function } => (sites.as_slice(), Some(*function)),
        };
        let parts: &[Part] = match self {
            Self::Parts(parts) => parts,
            _ => &[],
        };
        let parts = parts.iter().map(|part| part.site);
        sites.iter().copied().chain(function).chain(parts)
    }
}
