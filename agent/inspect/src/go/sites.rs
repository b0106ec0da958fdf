//! Where a probe belongs in a method of `crypto/tls.Conn`.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind, Register as Name};

use super::returned;
use super::table::{Range, Table};
use crate::code::{Graph, Kind, Limits, Node, Proof, Registers, Width};
use crate::elf::Image;
use crate::{Arguments, Class, Direction, Function, Outcome, Part, Register, Return, Site};

/// Go's own calling convention: receiver, slice's address, length (and capacity in `rdi`).
const ARGUMENTS: [Register; 3] = [Register::Rax, Register::Rbx, Register::Rcx];
/// The functions looked for have a twentieth of it.
const MAX_BYTES: u64 = 64 << 10;
/// Instructions up to the entry site.
const MAX_STEPS: usize = 64;
/// Where a goroutine keeps the bound of its stack.
const STACK_GUARD: u64 = 0x10;
const WRITE_RECORD: &[u8] = b"crypto/tls.(*Conn).writeRecordLocked";

/// `function` counts from `text`. The error is the reason for the user.
pub(super) fn find(
    image: &Image<'_>,
    table: &Table<'_>,
    text: u64,
    function: Range,
    name: &'static str,
    direction: Direction,
) -> Result<Function, &'static str> {
    const NO_CODE: &str = "its code is not in the file";
    let address = text.checked_add(function.start).ok_or(NO_CODE)?;
    if function.bytes > MAX_BYTES {
        return Err("the table gives it an absurd length");
    }
    let graph = Graph::read(image, address, Limits::from_size(function.bytes)).ok_or(NO_CODE)?;
    let callee = |target: u64| table.name(target.checked_sub(text)?);
    let entry = entry(&graph)?;
    let site = |node: &Node| {
        Some(Site {
            offset: image.offset(node.address)?,
            class: node.class,
        })
    };
    let mut outcome = Outcome::Bytes(Register::Rax);
    let mut returns = None;
    if let Some((node, place)) = returned::site(&graph, &callee, direction) {
        returns = site(node).map(|site| Return::Sites(vec![site]));
        outcome = place;
    } else if direction == Direction::Write {
        returns = parts(&graph, &callee, &site).map(Return::Parts);
    }
    let returns = match returns {
        Some(returns) => returns,
        None => Return::Sites(ends(image, address, function.bytes).ok_or(NO_CODE)?),
    };
    Ok(Function {
        name,
        direction,
        entry: site(entry.node).ok_or(NO_CODE)?,
        arguments: entry.arguments,
        outcome,
        returns,
    })
}

struct Entry<'g> {
    node: &'g Node,
    arguments: Arguments,
}

/// The first cheap instruction behind the check of the stack, if the arguments still stand in
/// registers there; else the check's own branch, which a call passes once more when its stack has
/// been made larger.
fn entry(graph: &Graph) -> Result<Entry<'_>, &'static str> {
    let mut node = graph.node(graph.start());
    let mut checks = false;
    for _ in 0..MAX_STEPS {
        match node.kind {
            Kind::Plain => checks |= is_check(node),
            Kind::Branch if checks => {
                let again = Entry {
                    node,
                    arguments: arguments(ARGUMENTS.map(Registers::one)).ok_or("")?,
                };
                return Ok(behind(graph, node).unwrap_or(again));
            }
            _ => break,
        }
        node = node
            .next
            .first()
            .map(|&next| graph.node(next))
            .ok_or("its code breaks off")?;
    }
    Err(
        "its arguments are not passed in registers (Go before 1.17), or its code has an unknown shape",
    )
}

fn behind<'g>(graph: &'g Graph, check: &Node) -> Option<Entry<'g>> {
    let follow = |node: &Node| {
        let next = node.instruction.next_ip();
        let next = node
            .next
            .iter()
            .map(|&next| graph.node(next))
            .find(|it| it.address == next);
        next.filter(|next| next.previous.len() == 1)
    };
    let mut node = follow(check)?;
    let mut held = ARGUMENTS.map(Registers::one);
    for _ in 0..MAX_STEPS {
        let arguments = arguments(held)?;
        if node.class == Class::Emulated {
            return Some(Entry { node, arguments });
        }
        if node.kind != Kind::Plain {
            return None;
        }
        let makes_room = node.instruction.mnemonic() == Mnemonic::Sub;
        if node.effect.writes.contains(Register::Rsp) && !makes_room {
            return None;
        }
        held = held.map(|registers| registers.after(node.effect, Width::All));
        node = follow(node)?;
    }
    None
}

fn arguments(held: [Registers; 3]) -> Option<Arguments> {
    let mut at = held
        .iter()
        .zip(ARGUMENTS)
        .map(|(held, first)| held.prefer(first));
    Some(Arguments {
        session: at.next()??,
        buffer: at.next()??,
        length: at.next()??,
    })
}

/// `cmp .., [r14 + 10h]`: the goroutine stands in `r14` in Go's register convention only.
fn is_check(node: &Node) -> bool {
    let it = &node.instruction;
    it.mnemonic() == Mnemonic::Cmp
        && it.op1_kind() == OpKind::Memory
        && it.memory_base() == Name::R14
        && it.memory_index() == Name::None
        && it.memory_displacement64() == STACK_GUARD
}

/// Behind each call that sends a part, the first cheap instruction that is passed before anything
/// else happens to what it returned.
fn parts<'t>(
    graph: &Graph,
    callee: &impl Fn(u64) -> Option<&'t [u8]>,
    site: &impl Fn(&Node) -> Option<Site>,
) -> Option<Vec<Part>> {
    if graph.proof != Proof::Whole {
        return None;
    }
    let calls = graph.nodes().iter().filter(|node| match node.kind {
        Kind::Call(Some(target)) => callee(target) == Some(WRITE_RECORD),
        _ => false,
    });
    let parts: Option<Vec<Part>> = calls
        .map(|call| {
            let (node, outcome) = returned::kept(graph, call)?;
            Some(Part {
                site: site(node)?,
                outcome,
            })
        })
        .collect();
    parts.filter(|parts| !parts.is_empty())
}

/// All `ret`s, also those that are reached after a panic only. Go has no data amid its code.
fn ends(image: &Image<'_>, address: u64, bytes: u64) -> Option<Vec<Site>> {
    let code = image.code(address)?;
    let code = code.get(..usize::try_from(bytes).ok()?)?;
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut sites = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.code() == Code::INVALID {
            return None;
        }
        if instruction.flow_control() == FlowControl::Return {
            sites.push(Site {
                offset: image.offset(instruction.ip())?,
                class: Class::Stepped,
            });
        }
    }
    (!sites.is_empty()).then_some(sites)
}
