//! What the end-to-end tests stand on: a real OTLP receiver, weft as a child process, third-party programs, raw connections.
//!
//! A test opens a [`Scene`], starts programs and [`Weft`] in the order it wants to try, makes requests whose paths carry the
//! scene's own tag, and asks for the spans of that tag: other traffic of the machine does not disturb it.

pub mod exact;
pub mod figures;
pub mod network;
pub mod nodes;
pub mod raw;
mod scene;
mod sink;
mod span;
mod weft;

pub use crate::scene::{Scene, on_scene, skip};
pub use crate::sink::{Behaviour, Sink};
pub use crate::span::{Kind, Span, Spans};
pub use crate::weft::{Weft, WeftCommand, weft_binary};
