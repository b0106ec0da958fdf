//! Where plaintext requests of HTTP/1 go to, for the kernel programs: they write into such alone.

use std::net::SocketAddr;

use foldhash::HashSet;

use crate::config::Inject;
use crate::span::{Endpoint, Outcome, Span, Version};

#[derive(Default)]
pub(crate) struct Peers {
    told: HashSet<SocketAddr>,
    news: Vec<SocketAddr>,
}

/// As many as the kernel programs keep.
const MAX_TOLD: usize = 4096;

impl Peers {
    /// A client's exchange has ended. `met`: its other end was seen on this node.
    pub(crate) fn saw(&mut self, span: &Span, met: bool, outcome: Outcome, inject: Inject) {
        let wanted = match inject {
            Inject::Never => false,
            Inject::Away => !met,
            Inject::Always => true,
        };
        let plain = !span.tls
            && matches!(span.exchange.version, Version::Http10 | Version::Http11)
            && outcome == Outcome::Complete;
        let Endpoint::Inet(peer) = &span.peer else {
            return;
        };
        if !wanted || !plain {
            return;
        }
        if self.told.len() >= MAX_TOLD {
            self.told.clear();
        }
        if self.told.insert(*peer) {
            self.news.push(*peer);
        }
    }

    pub(crate) fn drain(&mut self, each: impl FnMut(SocketAddr)) {
        self.news.drain(..).for_each(each);
    }
}
