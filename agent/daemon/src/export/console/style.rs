//! Colours and widths.

use std::{
    collections::hash_map::DefaultHasher,
    fmt,
    hash::{Hash as _, Hasher as _},
    io::{self, IsTerminal as _},
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colour: bool,
    /// Of a line, in characters.
    pub(super) width: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
    Cyan,
    /// The same for the same service in all traces.
    Service(u8),
}

const USUAL_WIDTH: usize = 120;
const LEAST_WIDTH: usize = 80;
/// SGR codes that read well on dark and light grounds and say nothing of success or failure.
const SERVICES: [u8; 6] = [34, 35, 36, 94, 95, 96];

impl Style {
    /// Colours only on a terminal, and only if the user has not refused them (NO_COLOR).
    pub(crate) fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width =
            rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col.into());
        let width = if width == 0 { USUAL_WIDTH } else { width };
        Self {
            colour: terminal && !refused,
            width: width.max(LEAST_WIDTH),
        }
    }

    #[cfg(test)]
    pub(super) fn plain(width: usize) -> Self {
        Self {
            colour: false,
            width,
        }
    }

    pub(super) fn paint<T: fmt::Display>(self, ink: Ink, text: T) -> Painted<T> {
        Painted {
            code: self.colour.then(|| ink.code()),
            text,
        }
    }
}

impl Ink {
    pub(super) fn of_service(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let index = hasher.finish() % SERVICES.len() as u64;
        Self::Service(SERVICES[index as usize])
    }

    fn code(self) -> u8 {
        match self {
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Red => 31,
            Self::Cyan => 36,
            Self::Service(code) => code,
        }
    }
}

pub(super) struct Painted<T> {
    code: Option<u8>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "\x1b[{code}m{}\x1b[0m", self.text),
            None => self.text.fmt(f),
        }
    }
}
