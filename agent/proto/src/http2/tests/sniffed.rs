//! What is taken for HTTP/2 in the middle of a connection, and what is not.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::sniff;
use super::*;

fn get() -> Vec<u8> {
    frame(1, 5, 9, &hex("82 86 c1 c0"))
}

#[test]
fn sniffed() {
    let ok = frame(1, 4, 1, &hex("88 c1"));
    let with = |more: &[Vec<u8>]| [vec![ok.clone()], more.to_vec()].concat().concat();
    is(&get(), 0, Some(Sender::Client));
    is(&ok, 0, Some(Sender::Server));
    is(&with(&[frame(0, 1, 1, b"hello")]), 0, Some(Sender::Server));
    is(
        &with(&[frame(0, 1, 1, &[0; 5000])])[..100],
        4900,
        Some(Sender::Server),
    );
    is(
        &[frame(8, 0, 0, &hex("00000001")), get()].concat(),
        0,
        Some(Sender::Client),
    );
    // Neither end nor next frame is seen.
    is(&ok, 5, None);
    is(&ok[..10], 5, None);
    // No head.
    is(&frame(8, 0, 0, &hex("00000001")), 0, None);
    is(&frame(1, 5, 1, &hex("c0c1")), 0, None);
    is(&frame(0, 1, 1, b"hello"), 0, None);
    // Nobody's.
    is(&frame(1, 5, 1, &hex("82 88")), 0, None);
    is(&frame(1, 5, 1, &hex("82 86 04 022f00")), 0, None);
    is(&frame(1, 5, 1, &hex("82 86 04 0161")), 0, None);
    is(&frame(1, 5, 1, &hex("82 58 0161 86")), 0, None);
    is(&frame(1, 0x45, 1, &hex("82 86 84")), 0, None);
    is(&frame(1, 5, 2, &hex("82 86 84")), 0, None);
    is(&frame(1, 5, 0x8000_0001, &hex("82 86 84")), 0, None);
    #[track_caller]
    fn is(bytes: &[u8], more: usize, expected: Option<Sender>) {
        assert_eq!(sniff(bytes, bytes.len() + more), expected, "{bytes:02x?}");
    }
}

#[test]
fn other_protocols() {
    // Redis: commands, replies, RESP3.
    not(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n");
    not(b"$-1\r\n");
    not(b"%1\r\n+a\r\n:1\r\n");
    // PostgreSQL: start-up, query, rows.
    not(b"\0\0\0\x27\0\x03\0\0user\0weft\0database\0weft\0\0");
    not(b"Q\0\0\0\x0dSELECT 1\0");
    not(b"T\0\0\0\x1a\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0D\0\0\0\x0b\0\x01\0\0\0\x011");
    // MySQL: query, OK, rows.
    not(b"\x09\0\0\0\x03SELECT 1");
    not(b"\x07\0\0\x01\0\0\0\x02\0\0\0");
    not(b"\x01\0\0\x01\x01\x17\0\0\x02\x03def\0\0\0\x011\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0");
    // Kafka: ApiVersions, Metadata, Fetch.
    not(b"\0\0\0\x19\0\x12\0\0\0\0\0\x01\0\x0fkafka-client-id");
    not(b"\0\0\0\x12\0\x03\0\x01\0\0\0\x02\0\x04weft\0\0\0\0");
    not(b"\0\0\0\x40\0\x01\0\x04\0\0\0\x07\0\x04weft\xff\xff\xff\xff\0\0\x01\xf4\0\0\0\x01\0\0\0\x01");
    // MongoDB: OP_MSG.
    not(b"\x2d\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x18\0\0\0\x10ping\0\x01\0\0\0\x02$db\0");
    // ZooKeeper: connect, ping, its answer.
    not(
        b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0",
    );
    not(b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b");
    not(b"\0\0\0\x10\xff\xff\xff\xfe\0\0\0\0\0\0\x01\x04\0\0\0\0");
    // AMQP: header, method, heartbeat, content.
    not(b"AMQP\0\0\x09\x01");
    not(b"\x01\0\x01\0\0\0\x05\0\x14\0\x0a\0\xce");
    not(b"\x08\0\0\0\0\0\0\xce");
    not(b"\x02\0\x01\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\x05\0\0\xce\x03\0\x01\0\0\0\x05hello\xce");
    // DNS over TCP, Cassandra, memcached, FastCGI, SSH, Thrift.
    not(b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x04test\0\0\x01\0\x01");
    not(b"\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0");
    not(b"\x80\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0a");
    not(b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0\x01\x04\0\x01\0\0\0\0");
    not(b"SSH-2.0-OpenSSH_9.2\r\n");
    not(b"\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0");
    // HTTP/1, TLS, and messages of gRPC without their frames.
    not(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    not(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    not(b"\x16\x03\x01\0\x05\x01\0\0\x01\0");
    not(b"\x17\x03\x03\0\x05hello");
    not(b"\0\0\0\0\x07\x0a\x05world\0\0\0\0\x02\x08\x01");
    not(&[0; 4096]);
    not(&[0xff; 4096]);
    #[track_caller]
    fn not(bytes: &[u8]) {
        for more in [0, 1, 1000, 1 << 20] {
            for end in 0..=bytes.len().min(64) {
                assert_eq!(sniff(&bytes[..end], end + more), None, "{bytes:02x?}");
            }
            assert_eq!(sniff(bytes, bytes.len() + more), None, "{bytes:02x?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..300), more in 0_usize..100_000) {
        prop_assert_eq!(sniff(&bytes, bytes.len() + more), None);
    }

    /// Small numbers of any width, as in most binary protocols.
    #[test]
    fn small_numbers(
        words in vec((prop_oneof![Just(1_usize), Just(2), Just(4), Just(8)], 0_u64..300), 0..60),
        order in any::<bool>(),
        more in 0_usize..1000,
    ) {
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|&(width, word)| match order {
                true => word.to_be_bytes()[8 - width..].to_vec(),
                false => word.to_le_bytes()[..width].to_vec(),
            })
            .collect();
        prop_assert_eq!(sniff(&bytes, bytes.len() + more), None);
    }
}
