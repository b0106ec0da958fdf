//! Tables of functions in a program's data.

use std::collections::BTreeSet;

use crate::elf::{Image, Region};

/// Tables that are looked at. Each kind of future that is spawned has one.
const MAX_TASKS: usize = 32;
const WORD: u64 = 8;
/// `poll` to `shutdown` in `task::Vtable`.
const FUNCTIONS: u64 = 7;

/// What stands in a program's constant data once it is loaded.
pub(super) struct Pointers<'i, 'a> {
    image: &'i Image<'a>,
    /// By place. Empty: the program is loaded where it was linked for.
    relative: Vec<(u64, u64)>,
    tables: Vec<Region<'a>>,
}

/// A kind of task: of what its `Vtable` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) poll: u64,
    /// Offsets in the task.
    pub(super) scheduler: u64,
    pub(super) id: u64,
}

// === impl Pointers ===

impl<'i, 'a> Pointers<'i, 'a> {
    pub(super) fn read(image: &'i Image<'a>) -> Self {
        let mut relative: Vec<_> = image.relative().map(|it| (it.at, it.value)).collect();
        relative.sort_unstable();
        let names = match relative.is_empty() {
            true => &[".data.rel.ro", ".rodata"][..],
            false => &[".data.rel.ro"],
        };
        let tables = names.iter().filter_map(|name| image.named(name)).collect();
        Self {
            image,
            relative,
            tables,
        }
    }

    #[cfg(test)]
    pub(super) fn of(image: &'i Image<'a>, relative: &[(u64, u64)]) -> Self {
        Self {
            image,
            relative: relative.to_vec(),
            tables: Vec::new(),
        }
    }

    /// The address that stands there.
    pub(super) fn pointer(&self, at: u64) -> Option<u64> {
        if self.relative.is_empty() {
            return self.stored(at);
        }
        let found = self.relative.binary_search_by_key(&at, |&(at, _)| at);
        Some(self.relative[found.ok()?].1)
    }

    /// Where this address stands, as far as the loader puts it there.
    pub(super) fn places_of(&self, address: u64) -> BTreeSet<u64> {
        let places = self.relative.iter().filter(|(_, value)| *value == address);
        places.map(|&(at, _)| at).collect()
    }

    /// The number that stands there, which is no address.
    fn number(&self, at: u64) -> Option<u64> {
        let is_pointer = !self.relative.is_empty() && self.pointer(at).is_some();
        if is_pointer { None } else { self.stored(at) }
    }

    fn stored(&self, at: u64) -> Option<u64> {
        let bytes = self.image.data(at)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    fn function(&self, at: u64) -> Option<u64> {
        self.pointer(at)
            .filter(|&address| self.image.code(address).is_some())
    }

    /// Places at which a table may begin: those of addresses of code.
    fn places(&self) -> impl Iterator<Item = u64> + '_ {
        let words = |region: &Region<'a>| {
            let first = region
                .address
                .checked_next_multiple_of(WORD)
                .unwrap_or(u64::MAX);
            let end = region.address.saturating_add(region.bytes.len() as u64);
            (first..end).step_by(WORD as usize)
        };
        let all = self.tables.iter().flat_map(words);
        all.filter(|&at| self.function(at).is_some())
    }

    /// Tables of tasks.
    pub(super) fn tasks(&self) -> Vec<Task> {
        let places = self.places().filter_map(|at| self.task(at));
        places.take(MAX_TASKS).collect()
    }

    /// The table's own order: a task is `{ header, scheduler, id, .., trailer }`.
    fn task(&self, at: u64) -> Option<Task> {
        const MAX_HEADER: u64 = 0x80;
        const MAX_SCHEDULER: u64 = 0x80;
        let end = at.checked_add((FUNCTIONS + 3) * WORD)?;
        let numbers = [3, 2, 1].map(|word| self.number(end - word * WORD));
        let [Some(trailer), Some(scheduler), Some(id)] = numbers else {
            return None;
        };
        let aligned = |offset: u64| offset.is_multiple_of(WORD);
        let in_order = 0 < scheduler && scheduler < id && id < trailer;
        let near = scheduler <= MAX_HEADER && id.saturating_sub(scheduler) <= MAX_SCHEDULER;
        if !in_order || !near || ![trailer, scheduler, id].into_iter().all(aligned) {
            return None;
        }
        let functions = (0..FUNCTIONS).all(|word| self.function(at + word * WORD).is_some());
        functions.then(|| Task {
            poll: self.pointer(at).unwrap_or(0),
            scheduler,
            id,
        })
    }

    /// Tables of the wakers of tasks: what clones one adds to the references that the task's first word
    /// counts in units of 64, what drops one takes that off.
    pub(super) fn wakers(&self) -> Vec<u64> {
        /// `mov eax, 64; lock xadd [rdi], rax`.
        const CLONES: &[u8] = &[0xb8, 0x40, 0, 0, 0, 0xf0, 0x48, 0x0f, 0xc1, 0x07];
        /// `mov rax, -64; lock xadd [rdi], rax`.
        const DROPS: &[u8] = &[
            0x48, 0xc7, 0xc0, 0xc0, 0xff, 0xff, 0xff, 0xf0, 0x48, 0x0f, 0xc1, 0x07,
        ];
        let begins = |at: u64, code: &[u8]| {
            let function = self.function(at).and_then(|start| self.image.code(start));
            function.is_some_and(|bytes| bytes.starts_with(code))
        };
        self.places()
            .filter(|&at| {
                begins(at, CLONES)
                    && begins(at.saturating_add(3 * WORD), DROPS)
                    && [1, 2]
                        .iter()
                        .all(|word| self.function(at.saturating_add(word * WORD)).is_some())
            })
            .collect()
    }
}

impl Task {
    /// Where in its table the offset of its id stands, bytes.
    pub(super) const ID_OFFSET: u32 = ((FUNCTIONS + 2) * WORD) as u32;
}
