//! stub
use super::{clock::Clock, encode::Finished, semantic::Conventions};

pub(crate) struct Console {
    spans: Vec<Finished>,
}
pub(crate) struct Style;
impl Style {
    pub(crate) fn of_stdout() -> Self {
        Self
    }
}
impl Console {
    pub(crate) fn new(_: Conventions, _: Clock, _: Style) -> Self {
        Self { spans: Vec::new() }
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
    pub(crate) fn add(&mut self, spans: Vec<Finished>) {
        self.spans.extend(spans);
    }
    pub(crate) fn finished(&mut self) -> (String, usize) {
        self.rest()
    }
    pub(crate) fn rest(&mut self) -> (String, usize) {
        let mut text = String::new();
        for (span, resource) in &self.spans {
            text.push_str(&format!("{} {:?}\n", resource.service_name(), span.exchange));
        }
        (text, self.spans.drain(..).count())
    }
}
