//! Probes on their way out of files that stay away or have proved wrong: the kernel takes a while, and the watcher
//! has other files to look at.

use std::thread::{self, JoinHandle};

use crate::bpf::Attached;

use super::files::Identity;

#[derive(Default)]
pub(super) struct Going(Vec<(Identity, JoinHandle<()>)>);

impl Going {
    pub(super) fn let_go(&mut self, file: Identity, probes: Vec<Attached>) {
        self.0.retain(|(_, thread)| !thread.is_finished());
        let thread = thread::Builder::new().name("weft-detach".to_owned());
        // Without a thread they have gone when this returns, too.
        let started = thread.spawn(move || Attached::take_out(probes));
        self.0.extend(started.ok().map(|thread| (file, thread)));
    }

    /// Returns when none is left in the file: a call that passes old probes and new ones would be seen twice.
    pub(super) fn wait_for(&mut self, file: Identity) {
        for (_, thread) in self.0.extract_if(.., |(going, _)| *going == file) {
            let _panicked = thread.join();
        }
    }

    /// Returns when none is left.
    pub(super) fn wait(self) {
        for (_, thread) in self.0 {
            let _panicked = thread.join();
        }
    }
}
