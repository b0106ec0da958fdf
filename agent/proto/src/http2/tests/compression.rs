//! Field blocks: the examples of RFC 7541 appendix C, and rules that they do not touch.

use super::super::transcript::describe;
use super::blocks::Blocks;
use super::*;

/// Decodes blocks one after the other with one table.
#[track_caller]
fn check_blocks(wanted: &[&str], blocks: &[&str], expected: &[&str]) {
    let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
    for longest in [usize::MAX, 1] {
        let mut table = Blocks::new(&wanted);
        for (block, expected) in blocks.iter().zip(expected) {
            let said = match table.decode_in(&hex(block), longest) {
                Ok(block) => describe(&block),
                Err(error) => format!(" {error:?}"),
            };
            assert_eq!(said.trim_start(), *expected, "{block}");
        }
    }
}

#[test]
fn literals() {
    // C.2.
    check_blocks(
        &["custom-key"],
        &["400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572"],
        &["[0]=custom-header"],
    );
    check_blocks(
        &[],
        &["040c 2f73 616d 706c 652f 7061 7468"],
        &["path=/sample/path"],
    );
    check_blocks(
        &["password"],
        &["1008 7061 7373 776f 7264 0673 6563 7265 74"],
        &["[0]=secret"],
    );
    check_blocks(&[], &["82"], &["method=GET"]);
}

const REQUESTS: &[&str] = &[
    "method=GET path=/ scheme=http authority=www.example.com",
    "method=GET path=/ scheme=http authority=www.example.com [1]=no-cache",
    "method=GET path=/index.html scheme=https authority=www.example.com [0]=custom-value",
];

#[test]
fn requests() {
    // C.3, C.4: without and with Huffman coding.
    check_blocks(
        &["custom-key", "cache-control"],
        &[
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        REQUESTS,
    );
    check_blocks(
        &["custom-key", "cache-control"],
        &[
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
        REQUESTS,
    );
}

const RESPONSES: &[&str] = &[
    "status=302 [0]=private [1]=Mon, 21 Oct 2013 20:13:21 GMT [2]=https://www.example.com",
    "status=307 [0]=private [1]=Mon, 21 Oct 2013 20:13:21 GMT [2]=https://www.example.com",
    "status=200 [0]=private [1]=Mon, 21 Oct 2013 20:13:22 GMT [2]=https://www.example.com \
     [3]=gzip [4]=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
];

#[test]
fn responses() {
    // C.5, C.6: with a table of 256 bytes, from which entries are evicted.
    let wanted = &[
        "cache-control",
        "date",
        "location",
        "content-encoding",
        "set-cookie",
    ];
    check_blocks(
        wanted,
        &[
            "3fe101 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 \
             3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 \
             6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 \
             5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 \
             5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
            // What was evicted is an error.
            "c1",
        ],
        &[RESPONSES[0], RESPONSES[1], RESPONSES[2], "Index"],
    );
    check_blocks(
        wanted,
        &[
            "3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 \
             82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad \
             94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 \
             3160 65c0 03ed 4ee5 b106 3d50 07",
        ],
        RESPONSES,
    );
}

#[test]
fn rules() {
    // A size update stands before the first field, and may stand there twice.
    check_blocks(&[], &["20 3fe11f 82", "82 20"], &["method=GET", "Resize"]);
    check_blocks(&[], &["80"], &["Index"]);
    check_blocks(&[], &["be"], &["Index"]);
    check_blocks(&[], &["7f00 0161"], &["Index"]);
    check_blocks(&[], &["82 04"], &["End"]);
    check_blocks(&[], &["ffffffffffffffffff"], &["Integer"]);
    check_blocks(&[], &["7fffffffffff0f"], &["Integer"]);
    check_blocks(&[], &["0481 18"], &["Huffman"]);
    // An entry that is larger than the table empties it.
    check_blocks(
        &[],
        &["3f09 44022f61", "44 0a 2f313233343536373839 82", "be"],
        &["path=/a", "method=GET path=/123456789", "Index"],
    );
    check_blocks(&[], &["20 44022f61", "be"], &["path=/a", "Index"]);
    // Names of entries that are evicted meanwhile.
    check_blocks(
        &[],
        &["3f0b 44022f61", "7e022f62", "be"],
        &["path=/a", "path=/b", "path=/b"],
    );
    // A name in capitals is nobody's.
    check_blocks(&[], &["0004 484f5354 0161"], &[""]);
    // The first counts; trace context is joined.
    check_blocks(
        &[],
        &[
            "0f 2b 0161 0f 2b 0162",
            "000b 7472616365706172656e74 0161 000b 7472616365706172656e74 0162",
        ],
        &["user-agent=a", "traceparent=a,b"],
    );
    check_blocks(
        &["traceparent"],
        &["000b 7472616365706172656e74 0161 000b 7472616365706172656e74 0162"],
        &["traceparent=a,b [0]=a [0]=b"],
    );
    // `host` where there is no `:authority`.
    check_blocks(
        &[],
        &["0f 17 0161", "01 0162 0f 17 0161"],
        &["authority=a", "authority=b"],
    );
    // Values that are none.
    check_blocks(
        &[],
        &[
            "08 0132",
            "08 03323061",
            "0f 0d 022d31",
            "000b 677270632d737461747573 0131",
        ],
        &["", "", "", "grpc-status=1"],
    );
}
