#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| weft_proto::peering::fuzz_peering(input));
