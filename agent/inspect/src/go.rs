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
#[cfg(test)]
mod tests;

use crate::elf::Image;
use crate::{Direction, Finding, Library, Problem, Stack};

pub use build::Program;
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::fuzz_go;
pub(crate) use locate::build_id;

const READ: &str = "crypto/tls.(*Conn).Read";
const WRITE: &str = "crypto/tls.(*Conn).Write";

/// What a Go program says of itself, and `crypto/tls` if it is in there; nothing in other files.
pub(crate) fn find(image: &Image<'_>) -> (Option<Program>, Option<Library>) {
    let program = locate::program(image);
    if program.is_none() && !locate::is_marked(image) {
        return (None, None);
    }
    let mut library = Library {
        stack: Stack::Go,
        version: program.as_ref().map(|program| program.version.clone()),
        finding: Finding::GoTable,
        functions: Vec::new(),
        problems: Vec::new(),
    };
    let Some(table) = locate::table(image) else {
        let problem = "a Go program, but its table of functions (.gopclntab) is not found";
        library.problems.push(Problem(problem.to_owned()));
        return (program, Some(library));
    };
    let found = table.functions([READ, WRITE]);
    let Some(some) = found.into_iter().flatten().next() else {
        return (program, None);
    };
    let Some(text) = locate::text(image, &table, some.start) else {
        let problem = "a Go program whose code's start is not found (moduledata)";
        library.problems.push(Problem(problem.to_owned()));
        return (program, Some(library));
    };
    let wanted = [(READ, Direction::Read), (WRITE, Direction::Write)];
    for ((name, direction), function) in wanted.into_iter().zip(found) {
        let sites = match function {
            Some(function) => sites::find(image, &table, text, function, name, direction),
            None => Err("the program was linked without it"),
        };
        match sites {
            Ok(function) => library.functions.push(function),
            Err(why) => library.problems.push(Problem(format!("{name}: {why}"))),
        }
    }
    (program, Some(library))
}
