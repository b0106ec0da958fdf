//! Field blocks against two independent implementations: one encodes, one decodes.

use httlib_hpack::Encoder;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::hpack::Error;
use super::blocks::Blocks;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What another encoder encodes comes out again.
    #[test]
    fn encoded(blocks in vec(block(), 1..12), longest in prop_oneof![Just(usize::MAX), 1_usize..20]) {
        let (mut encoder, mut table) = (Encoder::default(), Blocks::new(&names()));
        for block in &blocks {
            let bytes = encode(&mut encoder, block);
            let decoded = table.decode_in(&bytes, longest).expect("a block");
            let told: Vec<_> = decoded
                .chosen
                .iter()
                .map(|(index, value)| (NAMES[usize::from(*index)], value.to_vec()))
                .collect();
            let sent: Vec<_> = block
                .fields
                .iter()
                .map(|field| (field.name, field.value.clone()))
                .collect();
            prop_assert_eq!(told, sent);
            prop_assert_eq!((decoded.unknown, decoded.partial), (0, false));
        }
    }

    /// Of blocks that chance made, or has changed, another decoder says the same.
    #[test]
    fn decoded(blocks in vec(hostile(), 1..8)) {
        let mut theirs = loona_hpack::Decoder::new();
        theirs.set_max_allowed_table_size(4096);
        let mut ours = Blocks::new(&names());
        for block in &blocks {
            let told = ours.decode(block);
            let other = theirs.decode(block);
            match (&told, &other) {
                (Ok(told), Ok(other)) => {
                    let told: Vec<_> = told.chosen.iter().map(|(_, value)| &value[..]).collect();
                    let other: Vec<_> = other
                        .iter()
                        .filter(|(name, _)| NAMES.iter().any(|known| known.as_bytes() == name))
                        .map(|(_, value)| &value[..])
                        .collect();
                    prop_assert_eq!(told, other, "{:02x?}", block);
                }
                (Err(_), Err(_)) => return Ok(()),
                _ if is_known_difference(&told, &other) => return Ok(()),
                _ => prop_assert!(false, "{:?} {:?} {:02x?}", told, other, block),
            }
        }
    }
}

/// Both keep RFC 7541 where it leaves room, or theirs is more lenient.
fn is_known_difference<T, U, E: std::fmt::Debug>(
    ours: &Result<T, Error>,
    theirs: &Result<U, E>,
) -> bool {
    match (ours, theirs) {
        // A size update behind a field; a name of more than 4 KiB; a larger integer.
        (Err(Error::Resize | Error::Name | Error::Integer), Ok(_)) => true,
        // No settings are known here: each size is allowed. Integers may be longer.
        (Ok(_), Err(error)) => {
            let error = format!("{error:?}");
            error.contains("InvalidMaxDynamicSize")
                || error.contains("TooManyOctets")
                || error.contains("SizeUpdateAtEnd")
        }
        _ => false,
    }
}

#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// New size of the table.
    resize: Option<u32>,
    pub(super) fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) value: Vec<u8>,
    /// How it is encoded.
    flags: u8,
}

const NAMES: [&str; 12] = [
    ":method",
    ":path",
    ":scheme",
    ":authority",
    ":status",
    "user-agent",
    "cookie",
    "traceparent",
    "grpc-status",
    "x-id",
    "accept",
    "x-a-name-that-is-longer-than-most-names-are-and-is-sent-seldom",
];

pub(super) fn names() -> Vec<String> {
    NAMES.iter().map(|&name| name.to_owned()).collect()
}

pub(super) fn block() -> impl Strategy<Value = Sent> {
    let resize = prop_oneof![
        8 => Just(None),
        1 => prop_oneof![Just(0), Just(64), Just(200), Just(4096), 0_u32..4096].prop_map(Some),
    ];
    (resize, vec(field(), 0..10)).prop_map(|(resize, fields)| Sent { resize, fields })
}

fn field() -> impl Strategy<Value = Field> {
    let value = prop_oneof![
        4 => (0_u8..20).prop_map(|number| format!("/value/{number}").into_bytes()),
        1 => Just(b"GET".to_vec()),
        1 => Just(b"200".to_vec()),
        1 => vec(any::<u8>(), 0..80),
        1 => (1_usize..300, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ];
    let flags = (
        0_u8..4,
        prop_oneof![Just(0), Just(0x4), Just(0x4), Just(0x8)],
        0_u8..2,
    );
    (0..NAMES.len(), value, flags).prop_map(|(name, value, (huffman, index, best))| Field {
        name: NAMES[name],
        value,
        flags: huffman | index | best << 4,
    })
}

pub(super) fn encode(encoder: &mut Encoder<'_>, block: &Sent) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(size) = block.resize {
        encoder
            .update_max_dynamic_size(size, &mut bytes)
            .expect("a size");
    }
    for field in &block.fields {
        let name = field.name.as_bytes().to_vec();
        encoder
            .encode((name, field.value.clone(), field.flags), &mut bytes)
            .expect("a field");
    }
    bytes
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let changed = (
        block(),
        vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    );
    prop_oneof![
        3 => changed.prop_map(|(block, changes)| {
            let mut bytes = encode(&mut Encoder::default(), &block);
            for (at, byte) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            bytes
        }),
        1 => vec(any::<u8>(), 0..40),
    ]
}
