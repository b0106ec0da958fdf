#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| weft_proto::grpc::fuzz_grpc(input));
