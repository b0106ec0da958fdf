//! What happens in the cluster's name spaces.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::Arguments;
use crate::guard::{self, Keep};
use crate::image;
use crate::node::{self, Node};
use crate::proof::{self, Extent};

pub(crate) fn run(keep: Keep, extent: Extent, arguments: &Arguments) -> Result<()> {
    let parts = node::parts();
    let mut node = Node::start(&parts)?;
    image::load_all(&node)?;
    image::load_weft(&node, &arguments.weft, image::WEFT)?;
    match keep {
        Keep::WhileAsked => {
            anyhow::ensure!(
                proof::run(&mut node, extent, arguments.steps.as_deref())?,
                "not all is as it should be"
            );
            Ok(())
        }
        Keep::UntilDown => {
            guard::announce()?;
            loop {
                node.check()?;
                thread::sleep(Duration::from_secs(1));
            }
        }
    }
}
