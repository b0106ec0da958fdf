//! The Prometheus text format, version 0.0.4.

use std::fmt::Write as _;

use super::registry::{FigureKind, Gathered, Labels};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn text(gathered: &Gathered) -> String {
    let mut text = String::new();
    for (name, family) in &gathered.families {
        let kind = match family.kind {
            FigureKind::Counter => "counter",
            FigureKind::Gauge => "gauge",
        };
        let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for sample in &family.samples {
            let _ = writeln!(text, "{name}{} {}", labels(&sample.labels), sample.value);
        }
    }
    text
}

fn labels(labels: &Labels) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escaped = |value: &str| {
        value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    };
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Registry;

    #[test]
    fn format() {
        let registry = Registry::default();
        let lost = registry.counter("weft_lost_total", "Lost.", &[("reason", "a \"b\"")]);
        lost.add(3);
        registry
            .counter("weft_lost_total", "Lost.", &[("reason", "a \"b\"")])
            .add(1);
        registry.gauge("weft_fill", "Fill.", &[]).set(7);
        registry.source(|gathered| gathered.gauge("weft_fill", "Fill.", &[("cpu", "1")], 0.5));
        let expected = "# HELP weft_fill Fill.\n# TYPE weft_fill gauge\nweft_fill 7\n\
                        weft_fill{cpu=\"1\"} 0.5\n\
                        # HELP weft_lost_total Lost.\n# TYPE weft_lost_total counter\n\
                        weft_lost_total{reason=\"a \\\"b\\\"\"} 4\n";
        assert_eq!(text(&registry.gather()), expected);
    }
}
