//! The function within, when it costs less to watch than those that call it.

use super::{Calls, Named, Way};
use crate::Function;
use crate::code::{ARGUMENTS, Limits, inner, sites};
use crate::named::{Declared, Returned};

impl Way {
    /// `None` unless it is proved that all of them hand it their arguments, that nothing which must
    /// not be watched calls it, and that the kernel emulates all its sites.
    pub(super) fn shared(&self, calls: &Calls<'_, '_>, outer: &[Named<'_>]) -> Option<Function> {
        let Calls { image, symbols, .. } = calls;
        let (mut address, mut pointer) = (None, None);
        for named in outer {
            let called = inner(&named.graph)?;
            let same = (0..3).all(|at| called.arguments[at] == Some(ARGUMENTS[at]));
            if !same || *address.get_or_insert(called.address) != called.address {
                return None;
            }
            if let Returned::Success { bytes } = named.declared.returns {
                let at = ARGUMENTS.iter().position(|&register| register == bytes)?;
                let stands = called.arguments[at]?;
                if *pointer.get_or_insert(stands) != stands {
                    return None;
                }
            }
        }
        let (address, bytes) = (address?, pointer?);
        for other in self.others.iter().flat_map(|name| symbols.named(name)) {
            if calls.of(other).contains(&address) {
                return None;
            }
        }
        let declared = Declared {
            name: self.inner,
            direction: outer.first()?.declared.direction,
            returns: Returned::Success { bytes },
        };
        let limits = Limits::from_size(
            symbols
                .iter()
                .find(|symbol| symbol.address == address)
                .map_or(0, |symbol| symbol.bytes),
        );
        let function = declared.with(sites(image, address, limits, &declared.registers())?);
        function.is_cheap().then_some(function)
    }
}
