//! From what was found in a file to what the kernel programs want to know of each place.

use weft_abi::{Site, SiteFlags};
use weft_inspect::{
    Direction, Finding, Function, Library, Outcome, Return, Site as Instruction, Stack,
};

use crate::bpf::{Hook, Place};

const NO_REGISTER: u8 = u8::MAX;

/// Where probes go for a library.
pub(crate) fn places(library: &Library) -> impl Iterator<Item = Place> + '_ {
    library
        .functions
        .iter()
        .flat_map(|function| of_function(library.stack, name(library), function))
}

/// How sites name their library.
pub(crate) fn name(library: &Library) -> u8 {
    let trial = match library.finding {
        Finding::Code => Site::ON_TRIAL,
        Finding::Symbols | Finding::GoTable => 0,
    };
    library.stack as u8 | trial
}

/// The place at which a dynamic loader tells that it has mapped libraries.
pub(crate) fn loader(offset: u64) -> Place {
    Place {
        hook: Hook::Mapped,
        offset,
        site: Site::from_cookie(0),
    }
}

fn of_function(stack: Stack, name: u8, function: &Function) -> Vec<Place> {
    let mut common = 0;
    if function.direction == Direction::Write {
        common |= SiteFlags::WRITE;
    }
    if stack == Stack::Go {
        common |= SiteFlags::GO;
    }
    let pointer = match function.outcome {
        Outcome::Pointer { bytes, .. } => {
            common |= SiteFlags::POINTER;
            bytes as u8
        }
        Outcome::Payload(words) => {
            common |= SiteFlags::PAYLOAD;
            words
        }
        Outcome::Chunks(_) => {
            common |= SiteFlags::CHUNKS;
            NO_REGISTER
        }
        Outcome::Bytes(_) | Outcome::Stack(_) => NO_REGISTER,
    };
    let arguments = &function.arguments;
    let enter = Site {
        flags: common,
        session: arguments.session as u8,
        buffer: arguments.buffer as u8,
        length: arguments.length as u8,
        bytes: pointer,
        success: NO_REGISTER,
        stack: name,
    };
    let at = |hook: Hook, instruction: &Instruction, site: Site| Place {
        hook,
        offset: instruction.offset,
        site,
    };
    let outcome = leave(common, name, function.outcome);
    // What is certain at the entry is done there.
    let hook = match function.outcome {
        Outcome::Payload(_) => Hook::Leave,
        _ => Hook::Enter,
    };
    let mut places = vec![at(hook, &function.entry, enter)];
    match &function.returns {
        Return::Sites(sites) => {
            places.extend(sites.iter().map(|site| at(Hook::Leave, site, outcome)));
        }
        Return::Parts(parts) => places.extend(parts.iter().map(|part| {
            let site = leave(common | SiteFlags::PART, name, part.outcome);
            at(Hook::Leave, &part.site, site)
        })),
        Return::Probe { function } => places.push(at(Hook::Return, function, outcome)),
        Return::Either { sites, function } => {
            places.extend(sites.iter().map(|site| at(Hook::Leave, site, outcome)));
            places.push(at(Hook::Return, function, outcome));
        }
    }
    places
}

fn leave(common: u8, name: u8, outcome: Outcome) -> Site {
    let mut site = Site {
        flags: common,
        session: NO_REGISTER,
        buffer: NO_REGISTER,
        length: NO_REGISTER,
        bytes: NO_REGISTER,
        success: NO_REGISTER,
        stack: name,
    };
    match outcome {
        Outcome::Payload(_) => {}
        Outcome::Chunks(register) | Outcome::Bytes(register) => site.bytes = register as u8,
        Outcome::Pointer { success, bytes: _ } => site.success = success as u8,
        Outcome::Stack(above) => {
            site.flags |= SiteFlags::STACK;
            [site.session, site.buffer, site.length, _] = above.to_le_bytes();
        }
    }
    site
}

/// The library's name and version.
pub(crate) fn stack_name(library: &Library) -> String {
    let name = match library.stack {
        Stack::OpenSsl => "OpenSSL",
        Stack::BoringSsl => "BoringSSL",
        Stack::GnuTls => "GnuTLS",
        Stack::Go => "Go crypto/tls",
        Stack::Rustls => "rustls",
    };
    match &library.version {
        Some(version) => format!("{name} {version}"),
        None => name.to_owned(),
    }
}
