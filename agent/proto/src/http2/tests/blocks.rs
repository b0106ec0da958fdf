//! Field blocks without frames.

use super::super::Block;
use super::super::block::Collector;
use super::super::hpack::{Decoder, Error};

/// The blocks of one direction, one after the other.
pub(super) struct Blocks {
    pub(super) decoder: Decoder,
    fields: Collector,
    wanted: Vec<String>,
}

impl Blocks {
    pub(super) fn new(wanted: &[String]) -> Self {
        Self {
            decoder: Decoder::new(),
            fields: Collector::default(),
            wanted: wanted.to_vec(),
        }
    }

    pub(super) fn decode(&mut self, block: &[u8]) -> Result<Block, Error> {
        self.decode_in(block, usize::MAX)
    }

    /// In pieces of up to `longest` bytes. After an error what came before is forgotten.
    pub(super) fn decode_in(&mut self, block: &[u8], longest: usize) -> Result<Block, Error> {
        let result = block
            .chunks(longest)
            .try_for_each(|piece| self.decoder.bytes(piece, &self.wanted, &mut self.fields))
            .and_then(|()| self.decoder.end());
        match result {
            Ok(()) => Ok(self.fields.finish()),
            Err(error) => {
                self.decoder.forget();
                self.fields.clear();
                Err(error)
            }
        }
    }
}
