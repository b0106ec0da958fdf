#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| weft_proto::trace_context::fuzz_trace_context(input));
