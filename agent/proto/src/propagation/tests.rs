use super::*;

const ALL: [Propagator; 4] = [
    Propagator::TraceContext,
    Propagator::B3,
    Propagator::Jaeger,
    Propagator::XRay,
];
const TRACE: &str = "463ac35c9f6413ad48485a3953bb6124";
const SPAN: &str = "a2fb4a1d1a96d312";

#[test]
fn fuzz() {
    crate::corpus::each_input("propagation", fuzz_propagation);
}

#[test]
fn b3_in_one_field() {
    let b3 = |value: &str, expected| check(&[("b3", value)], expected);
    b3(&format!("{TRACE}-{SPAN}-1"), Some("b3 463a 1"));
    b3(&format!("{TRACE}-{SPAN}-0"), Some("b3 463a 0"));
    b3(&format!("{TRACE}-{SPAN}-d"), Some("b3 463a 1"));
    b3(&format!("{TRACE}-{SPAN}"), Some("b3 463a ?"));
    b3(
        &format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"),
        Some("b3 463a 1"),
    );
    b3(&format!("{}-{SPAN}-1", &TRACE[16..]), Some("b3 0000 1"));
    b3(
        &format!("{}-{SPAN}-1", TRACE.to_uppercase()),
        Some("b3 463a 1"),
    );
    for refused in [
        "0",
        "1",
        "d",
        "",
        TRACE,
        &format!("{TRACE}-"),
        &format!("{TRACE}-{SPAN}-"),
        &format!("{TRACE}-{SPAN}-2"),
        &format!("{TRACE}-{SPAN}-1-"),
        &format!("{TRACE}-{SPAN}-1-{SPAN}-1"),
        &format!("{TRACE}-{}-1", &SPAN[1..]),
        &format!("{}-{SPAN}-1", &TRACE[1..]),
        &format!("{}-{SPAN}-1", "0".repeat(32)),
        &format!("{TRACE}-{}-1", "0".repeat(16)),
        &format!("{}-{SPAN}-1", TRACE.replace('c', "x")),
        &format!("{TRACE}-{SPAN}-1,{TRACE}-{SPAN}-1"),
    ] {
        b3(refused, None);
    }
}

#[test]
fn b3_in_several_fields() {
    let ids = [("X-B3-TraceId", TRACE), ("X-B3-SpanId", SPAN)];
    let with = |more: &[(&str, &str)], expected| check(&[&ids, more].concat(), expected);
    with(&[], Some("b3 463a ?"));
    with(&[("X-B3-Sampled", "1")], Some("b3 463a 1"));
    with(&[("x-b3-sampled", "0")], Some("b3 463a 0"));
    with(&[("X-B3-Sampled", "true")], Some("b3 463a 1"));
    with(&[("X-B3-Sampled", "False")], Some("b3 463a 0"));
    with(&[("X-B3-Sampled", "perhaps")], Some("b3 463a ?"));
    with(&[("X-B3-Flags", "1")], Some("b3 463a 1"));
    with(&[("X-B3-Flags", "0")], Some("b3 463a ?"));
    with(
        &[("X-B3-Sampled", "0"), ("X-B3-Flags", "1")],
        Some("b3 463a 1"),
    );
    with(
        &[("X-B3-ParentSpanId", "05e3ac9a4f6e3b90")],
        Some("b3 463a ?"),
    );
    // Twice: which one is meant?
    with(&[("X-B3-TraceId", TRACE)], None);
    check(&ids[..1], None);
    check(&ids[1..], None);
    check(&[("X-B3-Sampled", "0")], None);
    // The single field wins, if it is valid.
    let single = format!("{}-{SPAN}-0", TRACE.replace('4', "5"));
    with(&[("b3", &single)], Some("b3 563a 0"));
    with(&[("b3", "0")], Some("b3 463a ?"));
}

#[test]
fn jaeger() {
    let jaeger = |value: &str, expected| check(&[("uber-trace-id", value)], expected);
    jaeger(&format!("{TRACE}:{SPAN}:0:1"), Some("jaeger 463a 1"));
    jaeger(&format!("{TRACE}:{SPAN}:0:0"), Some("jaeger 463a 0"));
    jaeger(&format!("{TRACE}:{SPAN}:{SPAN}:03"), Some("jaeger 463a 1"));
    jaeger(&format!("{TRACE}:{SPAN}:0:2"), Some("jaeger 463a 1"));
    jaeger(&format!("{TRACE}:{SPAN}:0:8"), Some("jaeger 463a 0"));
    jaeger(&format!("{TRACE}%3A{SPAN}%3a0%3A1"), Some("jaeger 463a 1"));
    jaeger(&format!("1:{SPAN}:0:1"), Some("jaeger 0000 1"));
    for refused in [
        "",
        ":::",
        TRACE,
        &format!("{TRACE}:{SPAN}:0"),
        &format!("{TRACE}:{SPAN}:0:"),
        &format!("{TRACE}:{SPAN}:0:1:1"),
        &format!("{TRACE}:{SPAN}::1"),
        &format!("{TRACE}:{SPAN}:0:111"),
        &format!("{TRACE}0:{SPAN}:0:1"),
        &format!("{TRACE}:{SPAN}0:0:1"),
        &format!("0:{SPAN}:0:1"),
        &format!("{TRACE}:0:0:1"),
        &format!("{TRACE}%3B{SPAN}%3B0%3B1"),
        &format!("{TRACE}%3"),
    ] {
        jaeger(refused, None);
    }
}

#[test]
fn xray() {
    const ROOT: &str = "Root=1-463ac35c-9f6413ad48485a3953bb6124";
    let xray = |value: &str, expected| check(&[("X-Amzn-Trace-Id", value)], expected);
    xray(
        &format!("{ROOT};Parent={SPAN};Sampled=1"),
        Some("xray 463a 1"),
    );
    xray(
        &format!("Sampled=0; Parent={SPAN}; {ROOT}"),
        Some("xray 463a 0"),
    );
    xray(
        &format!("Self=1-67891234-12456789abcdef012345678;{ROOT};Parent={SPAN};Lineage=a:1"),
        Some("xray 463a ?"),
    );
    xray(
        &format!("{ROOT};Parent={SPAN};Sampled=?"),
        Some("xray 463a ?"),
    );
    for refused in [
        "",
        ROOT,
        &format!("{ROOT};Sampled=1"),
        &format!("Parent={SPAN};Sampled=1"),
        &format!("{ROOT};{ROOT};Parent={SPAN}"),
        &format!("{ROOT};Parent={SPAN};Parent={SPAN}"),
        &format!("{ROOT};Parent"),
        &format!("{ROOT};Parent={SPAN}0"),
        &format!("{ROOT}0;Parent={SPAN}"),
        &format!("Root=2-463ac35c-9f6413ad48485a3953bb6124;Parent={SPAN}"),
        &format!("Root=1-463ac35c9f6413ad48485a3953bb6124;Parent={SPAN}"),
        &format!("Root=1-00000000-{};Parent={SPAN}", "0".repeat(24)),
    ] {
        xray(refused, None);
    }
}

#[test]
fn the_first_valid_one_of_the_list_wins() {
    let parent = format!("00-{}-{SPAN}-01", TRACE.replace('4', "5"));
    let b3 = format!("{TRACE}-{SPAN}-0");
    let both = [("traceparent", parent.as_str()), ("b3", b3.as_str())];
    check(&both, Some("tracecontext 563a 1"));
    check(&[("traceparent", "00-0-0-00"), both[1]], Some("b3 463a 0"));
    let (traceparent, b3) = (Bytes::from(parent.clone()), Bytes::from(b3));
    let others = [(Field::B3, b3)];
    let fields = Fields {
        traceparent: Some(&traceparent),
        others: &others,
        ..Fields::default()
    };
    let by = |order: &[Propagator]| fields.context(order).map(|context| context.propagator);
    assert_eq!(
        by(&[Propagator::B3, Propagator::TraceContext]),
        Some(Propagator::B3)
    );
    assert_eq!(by(&[Propagator::Jaeger]), None);
    assert_eq!(by(&[]), None);
}

#[test]
fn tracestate_goes_with_a_valid_traceparent() {
    let parent = Bytes::from(format!("00-{TRACE}-{SPAN}-01"));
    let state = Bytes::from_static(b"vendor=value");
    let others = [(Field::B3, Bytes::from(format!("{TRACE}-{SPAN}-1")))];
    let mut fields = Fields {
        traceparent: Some(&parent),
        tracestate: Some(&state),
        grpc_trace_bin: None,
        others: &others,
    };
    assert_eq!(fields.context(&ALL).unwrap().state, Some(state.clone()));
    fields.traceparent = None;
    let context = fields.context(&ALL).unwrap();
    assert_eq!((context.propagator, context.state), (Propagator::B3, None));
}

/// `expected`: propagator, beginning of the trace id, sampled.
#[track_caller]
fn check(pairs: &[(&str, &str)], expected: Option<&str>) {
    let mut traceparent = None;
    let mut others = Vec::new();
    for (name, value) in pairs {
        let value = Bytes::copy_from_slice(value.as_bytes());
        match Field::of(name.as_bytes()) {
            Some(field) => others.push((field, value)),
            None if *name == "traceparent" => traceparent = Some(value),
            None => {}
        }
    }
    let fields = Fields {
        traceparent: traceparent.as_ref(),
        others: &others,
        ..Fields::default()
    };
    let found = fields.context(&ALL).map(|context| {
        let name = match context.propagator {
            Propagator::TraceContext => "tracecontext",
            Propagator::B3 => "b3",
            Propagator::Jaeger => "jaeger",
            Propagator::XRay => "xray",
        };
        assert_eq!(context.parent.parent_id.to_string(), SPAN);
        let sampled = match (context.decided, context.parent.is_sampled()) {
            (false, _) => "?",
            (true, false) => "0",
            (true, true) => "1",
        };
        let trace = context.parent.trace_id.to_string();
        format!("{name} {} {sampled}", &trace[..4])
    });
    assert_eq!(found.as_deref(), expected, "{pairs:?}");
    let lines: Vec<String> = pairs.iter().map(|(a, b)| format!("{a}: {b}")).collect();
    fuzz_propagation(lines.join("\n").as_bytes());
}
