//! Field compression (RFC 7541) with gaps: what a gap hides is unknown, never guessed.

mod huffman;
mod integer;
mod label;
mod representation;
mod static_table;
mod table;

use label::Title;
pub(super) use label::{Field, KEPT_FIELDS, Label};
use representation::{Literal, MAX_NAME, Name, Representation};
use static_table::{FIELDS, STATIC, STATIC_LEN};
use table::{Lookup, MAX_TABLE, Table, Value};

use super::block::Collector;

/// Decodes the field blocks of one direction, in order.
///
/// A block comes in pieces; only a field that is cut by the end of a piece is buffered, so a block
/// may be of any length. Bound: a name has at most [`MAX_NAME`] bytes, a value that is buffered
/// [`MAX_VALUE`]; the bytes of a longer one are passed over like those in a gap.
#[derive(Debug)]
pub(super) struct Decoder {
    table: Table,
    /// The beginning of a field.
    pending: Vec<u8>,
    passing: Option<Passing>,
    /// Where the next field of the block begins is not known.
    cut: bool,
    /// A field of the block has come: the capacity does not change any more.
    fields: bool,
}

/// A value whose bytes are not looked at.
#[derive(Clone, Copy, Debug)]
struct Passing {
    name: Title,
    inserts: bool,
    /// As sent, bytes.
    value_len: usize,
    coded: bool,
    /// Bytes of the value that are still to come.
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    Huffman,
    Integer,
    Index,
    Name,
    /// A size update behind a field.
    Resize,
    /// The block ends in the middle of a field.
    End,
}

/// Longest value that is looked at, bytes as sent.
const MAX_VALUE: usize = 16 * 1024;
/// So much of a piece is added to what is pending at once, bytes.
const STEP: usize = 4 * 1024;
/// More memory is given back behind a block, bytes.
const USUAL_PENDING: usize = 1024;
/// Most memory that a decoder holds beside itself, bytes: entries of 32 bytes at least and values
/// in queues that doubled, and one field.
pub(super) const MAX_ALLOCATED: usize = 4 * MAX_TABLE + 2 * (MAX_NAME + MAX_VALUE + 2 * STEP);

// === impl Decoder ===

impl Decoder {
    /// For a direction from its beginning.
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(),
            pending: Vec::new(),
            passing: None,
            cut: false,
            fields: false,
        }
    }

    /// Blocks may have passed unseen; one that was being read is over.
    pub(super) fn forget(&mut self) {
        self.table.forget();
        self.close();
    }

    /// Takes the next bytes of a block.
    pub(super) fn bytes(
        &mut self,
        mut bytes: &[u8],
        wanted: &[String],
        block: &mut Collector,
    ) -> Result<(), Error> {
        if let Some(passing) = &mut self.passing {
            let taken = passing.left.min(bytes.len() as u64);
            passing.left -= taken;
            bytes = &bytes[taken as usize..];
            self.pass(block);
        }
        while !self.pending.is_empty() && !bytes.is_empty() {
            let (step, rest) = bytes.split_at(bytes.len().min(STEP));
            bytes = rest;
            let mut pending = std::mem::take(&mut self.pending);
            pending.extend_from_slice(step);
            let taken = self.fields(&pending, wanted, block)?;
            pending.drain(..taken);
            self.pending = pending;
            if let Some(passing) = &mut self.passing {
                let taken = passing.left.min(bytes.len() as u64);
                passing.left -= taken;
                bytes = &bytes[taken as usize..];
                self.pass(block);
            }
        }
        if !bytes.is_empty() && !self.cut {
            let taken = self.fields(bytes, wanted, block)?;
            self.pending.extend_from_slice(&bytes[taken..]);
        }
        Ok(())
    }

    /// So many bytes of the block are not known.
    pub(super) fn gap(&mut self, len: u64, wanted: &[String], block: &mut Collector) {
        if len == 0 || self.cut {
            return;
        }
        if self.passing.is_none()
            && let Ok(Representation::Literal(literal)) = Representation::parse(&self.pending)
        {
            let pending = std::mem::take(&mut self.pending);
            self.begin_passing(&literal, &pending, wanted, block);
        }
        match &mut self.passing {
            Some(passing) if passing.left >= len => {
                passing.left -= len;
                self.pass(block);
            }
            _ => self.cut(block),
        }
    }

    /// Fields may have passed unseen: what follows of the block is passed over.
    pub(super) fn cut(&mut self, block: &mut Collector) {
        self.forget();
        self.cut = true;
        block.cut();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// The block is over.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        let open = !self.pending.is_empty() || self.passing.is_some();
        self.close();
        if open { Err(Error::End) } else { Ok(()) }
    }

    /// Bytes of memory beside the decoder itself, never more than [`MAX_ALLOCATED`].
    pub(super) fn allocated(&self) -> usize {
        self.table.allocated() + self.pending.capacity()
    }

    fn close(&mut self) {
        self.pending.clear();
        self.pending.shrink_to(USUAL_PENDING);
        self.passing = None;
        self.cut = false;
        self.fields = false;
    }

    /// Takes whole fields; returns how many bytes.
    fn fields(
        &mut self,
        input: &[u8],
        wanted: &[String],
        block: &mut Collector,
    ) -> Result<usize, Error> {
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            match Representation::parse(rest)? {
                Representation::More => break,
                Representation::Indexed { index, len } => {
                    at += len;
                    self.fields = true;
                    self.indexed(index as usize, wanted, block)?;
                }
                Representation::Resize { bytes, len } => {
                    at += len;
                    if self.fields {
                        return Err(Error::Resize);
                    }
                    self.table.resize(bytes);
                }
                Representation::Literal(literal) => {
                    self.fields = true;
                    let value = literal.value.range.clone();
                    let is_whole = value.end <= rest.len();
                    if value.len() > MAX_VALUE {
                        at += value.end.min(rest.len());
                        self.begin_passing(&literal, rest, wanted, block);
                        self.pass(block);
                    } else if is_whole {
                        at += value.end;
                        self.literal(&literal, rest, wanted, block)?;
                    } else {
                        break;
                    }
                }
            }
        }
        Ok(at)
    }

    fn indexed(
        &mut self,
        index: usize,
        wanted: &[String],
        block: &mut Collector,
    ) -> Result<(), Error> {
        match self.lookup(index, wanted)? {
            Lookup::Known(name, Value::Bytes(first, second)) => {
                block.field(name.label, first, second);
            }
            Lookup::Known(name, Value::Unknown) => block.unknown(name.label),
            Lookup::Unknown => block.unknown(Label::UNKNOWN),
        }
        Ok(())
    }

    fn literal(
        &mut self,
        literal: &Literal,
        input: &[u8],
        wanted: &[String],
        block: &mut Collector,
    ) -> Result<(), Error> {
        let name = self.name(&literal.name, input, wanted, block)?;
        let start = block.begin();
        literal.value.append(input, block.buffer())?;
        if literal.inserts {
            let value = &block.buffer()[start..];
            self.table.insert(name, value.len(), Some(value));
        }
        block.end(name.label, start);
        Ok(())
    }

    fn begin_passing(
        &mut self,
        literal: &Literal,
        input: &[u8],
        wanted: &[String],
        block: &mut Collector,
    ) {
        // A name that does not decode is nobody's.
        let named = self.name(&literal.name, input, wanted, block);
        let value = &literal.value.range;
        self.passing = Some(Passing {
            name: named.unwrap_or(Title::UNKNOWN),
            inserts: literal.inserts,
            value_len: value.len(),
            coded: literal.value.coded,
            left: value.end.saturating_sub(input.len()) as u64,
        });
    }

    /// Ends what is passed over when nothing of it is left.
    fn pass(&mut self, block: &mut Collector) {
        let Some(passing) = self.passing.take_if(|passing| passing.left == 0) else {
            return;
        };
        if passing.inserts {
            let mut len = passing.value_len;
            if passing.coded {
                len = len * 8 / huffman::SHORTEST;
                self.table.doubt();
            }
            self.table.insert(passing.name, len, None);
        }
        block.unknown(passing.name.label);
    }

    fn name(
        &mut self,
        name: &Name,
        input: &[u8],
        wanted: &[String],
        block: &mut Collector,
    ) -> Result<Title, Error> {
        match name {
            Name::Literal(text) => {
                let start = block.begin();
                text.append(input, block.buffer())?;
                let name = Title::of(&block.buffer()[start..], wanted);
                block.end_name(start);
                Ok(name)
            }
            Name::Indexed(index) => match self.lookup(*index as usize, wanted)? {
                Lookup::Known(name, _) => Ok(name),
                Lookup::Unknown => Ok(Title::UNKNOWN),
            },
        }
    }

    fn lookup(&mut self, index: usize, wanted: &[String]) -> Result<Lookup<'_>, Error> {
        let index = index.checked_sub(1).ok_or(Error::Index)?;
        let Some(&(name, value)) = STATIC.get(index) else {
            return self.table.get(index - STATIC_LEN);
        };
        let name = Title {
            label: Label::with(FIELDS[index], name.as_bytes(), wanted),
            len: name.len() as u16,
        };
        Ok(Lookup::Known(name, Value::Bytes(value.as_bytes(), &[])))
    }
}
