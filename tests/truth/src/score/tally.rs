//! Counts.

use crate::truth::LinkClass;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub expected: u64,
    pub found: u64,
    /// Of those found, the ones that say that they do not know all.
    pub partial: u64,
    /// Spans of streams that are older than the agent, and that do not know what was asked for: as
    /// many exchanges are missing.
    pub nameless: u64,
    pub duplicates: u64,
    pub unexpected: u64,
    pub wrong_method: u64,
    pub wrong_status: u64,
    /// Spans that lie outside the time of the request they belong to.
    pub wrong_time: u64,
    pub roots: Links,
    pub hops: Links,
    pub in_process: Links,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Links {
    pub right: u64,
    pub missed: u64,
    pub wrong: u64,
}

impl Tally {
    pub fn links(&self, class: LinkClass) -> &Links {
        match class {
            LinkClass::Root => &self.roots,
            LinkClass::Hop => &self.hops,
            LinkClass::InProcess => &self.in_process,
        }
    }

    pub(super) fn links_mut(&mut self, class: LinkClass) -> &mut Links {
        match class {
            LinkClass::Root => &mut self.roots,
            LinkClass::Hop => &mut self.hops,
            LinkClass::InProcess => &mut self.in_process,
        }
    }

    pub fn wrong_links(&self) -> u64 {
        LinkClass::ALL
            .iter()
            .map(|class| self.links(*class).wrong)
            .sum()
    }

    /// Part of the expected spans that were found, with or without their names, in percent.
    pub fn coverage(&self) -> f64 {
        if self.expected == 0 {
            100.0
        } else {
            let told = self.found + self.nameless;
            100.0 * told.min(self.expected) as f64 / self.expected as f64
        }
    }

    pub(super) fn plus(self, other: &Tally) -> Tally {
        Tally {
            expected: self.expected + other.expected,
            found: self.found + other.found,
            partial: self.partial + other.partial,
            nameless: self.nameless + other.nameless,
            duplicates: self.duplicates + other.duplicates,
            unexpected: self.unexpected + other.unexpected,
            wrong_method: self.wrong_method + other.wrong_method,
            wrong_status: self.wrong_status + other.wrong_status,
            wrong_time: self.wrong_time + other.wrong_time,
            roots: self.roots.plus(other.roots),
            hops: self.hops.plus(other.hops),
            in_process: self.in_process.plus(other.in_process),
        }
    }
}

impl Links {
    pub(super) fn plus(self, other: Links) -> Links {
        Links {
            right: self.right + other.right,
            missed: self.missed + other.missed,
            wrong: self.wrong + other.wrong,
        }
    }
}
