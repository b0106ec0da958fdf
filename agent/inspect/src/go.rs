//! Go programs. `crypto/tls` stands in the program itself, and the runtime's table of functions,
//! which no stripping takes away, names it. Go 1.18 to 1.27 were looked at.
//!
//! A return probe would break a goroutine's stack, which is copied when it grows: none is used.

mod build;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod locate;
mod returned;
mod sites;
mod table;
mod tasks;
#[cfg(test)]
mod tests;

use table::Table;

use crate::elf::Image;
use crate::{Direction, Finding, Library, Problem, Stack};

pub use build::Program;
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::fuzz_go;
pub(crate) use locate::build_id;
pub use tasks::Goroutines;

const READ: &str = "crypto/tls.(*Conn).Read";
const WRITE: &str = "crypto/tls.(*Conn).Write";

/// What is found in a Go program; nothing in other files.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) program: Option<Program>,
    /// `crypto/tls`, if it is in there.
    pub(crate) tls: Option<Library>,
    pub(crate) goroutines: Option<Result<Goroutines, &'static str>>,
}

pub(crate) fn find(image: &Image<'_>) -> Found {
    let program = locate::program(image);
    if program.is_none() && !locate::is_marked(image) {
        return Found::default();
    }
    let Some(table) = locate::table(image) else {
        const NO_TABLE: &str = "a Go program, but its table of functions (.gopclntab) is not found";
        let mut library = library(program.as_ref());
        library.problems.push(Problem(NO_TABLE.to_owned()));
        return Found {
            program,
            tls: Some(library),
            goroutines: Some(Err(NO_TABLE)),
        };
    };
    let text = |start: u64| locate::text(image, &table, start);
    Found {
        tls: tls(image, &table, text, program.as_ref()),
        goroutines: tasks::find(image, &table, text).transpose(),
        program,
    }
}

fn library(program: Option<&Program>) -> Library {
    Library {
        stack: Stack::Go,
        version: program.map(|program| program.version.clone()),
        finding: Finding::GoTable,
        functions: Vec::new(),
        problems: Vec::new(),
    }
}

fn tls(
    image: &Image<'_>,
    table: &Table<'_>,
    text: impl Fn(u64) -> Option<u64>,
    program: Option<&Program>,
) -> Option<Library> {
    let mut library = library(program);
    let found = table.functions([READ, WRITE]);
    let some = found.into_iter().flatten().next()?;
    let Some(text) = text(some.start) else {
        let problem = "a Go program whose code's start is not found (moduledata)";
        library.problems.push(Problem(problem.to_owned()));
        return Some(library);
    };
    let wanted = [(READ, Direction::Read), (WRITE, Direction::Write)];
    for ((name, direction), function) in wanted.into_iter().zip(found) {
        let sites = match function {
            Some(function) => sites::find(image, table, text, function, name, direction),
            None => Err("the program was linked without it"),
        };
        match sites {
            Ok(function) => library.functions.push(function),
            Err(why) => library.problems.push(Problem(format!("{name}: {why}"))),
        }
    }
    Some(library)
}
