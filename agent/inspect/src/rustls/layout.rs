//! Whether objects of rustls and of Rust's library are laid out as we know them, as code shows that
//! reads them.

use super::facts::{Facts, Pointer};
use crate::code::Extents;
use crate::elf::Image;

/// Words that are read of an argument.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) pointer: Pointer,
    pub(super) words: &'static [i64],
}

/// `Payload`: a kind or a capacity, the bytes, their number.
pub(super) const PAYLOAD: Layout = Layout {
    pointer: SECOND,
    words: &[0, 8, 16],
};
/// `OutboundChunks`: a kind or the pieces, then what depends on it.
pub(super) const CHUNKS: Layout = Layout {
    pointer: SECOND,
    words: &[0, 16, 24],
};
const SECOND: Pointer = Pointer {
    argument: 1,
    offset: 0,
};

/// Whether the words are read, by the function itself or by one that it calls.
pub(super) fn is_read(
    image: &Image<'_>,
    extents: &Extents<'_>,
    facts: &Facts,
    layout: Layout,
) -> bool {
    facts.reads_words(layout.pointer, layout.words)
        || facts.calls.iter().any(|call| {
            let mut arguments = call.arguments.iter();
            let place = arguments.position(|argument| *argument == Some(layout.pointer));
            place.is_some_and(|argument| {
                let pointer = Pointer {
                    argument,
                    offset: 0,
                };
                let target = call.target.address(image);
                target
                    .and_then(|start| Facts::read(image, extents, start))
                    .is_some_and(|inner| inner.reads_words(pointer, layout.words))
            })
        })
}

/// `ChunkVecBuffer`: a limit (two words), a `VecDeque` (its capacity, the elements, the first, their
/// number), and in newer versions a word.
pub(super) struct Vectors<'f>(pub(super) &'f Facts);

impl Vectors<'_> {
    /// Its size.
    pub(super) const BYTES: [u64; 2] = [48, 56];
    pub(super) const CAPACITY: i64 = 16;
    /// Where the number of elements stands.
    pub(super) const COUNT: i64 = 40;
    const DEQUE: [i64; 4] = [Self::CAPACITY, 24, 32, Self::COUNT];

    /// Whether the code looks at the elements.
    pub(super) fn is_counted(&self, buffer: Pointer) -> bool {
        self.0.reads_words(buffer, &Self::DEQUE)
    }

    /// Whether the code appends to one that stands there.
    pub(super) fn is_appended_to(&self, buffer: Pointer) -> bool {
        self.is_counted(buffer)
            && buffer
                .plus(Self::COUNT)
                .is_some_and(|count| self.0.writes_word(count))
    }
}
