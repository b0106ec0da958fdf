//! Tables as the library of a JVM has them.

use object::elf::{PF_R, PF_X, PT_DYNAMIC, PT_LOAD};

use super::{ENTRY, Jvm, OFFSET, read};
use crate::Class;
use crate::elf::Image;
use crate::elf::tests::{Loaded, file_loaded};

const AT: u64 = 0x10_0000;
/// Of the pointer to the table, of the table, and of `JNI_CreateJavaVM`.
const POINTER_AT: u64 = AT;
const TABLE: u64 = AT + 8;
const CREATE: u64 = AT + 16;

/// A library with these fields in its table.
fn found(fields: &[(&str, &str)], text: &str) -> Result<Jvm, &'static str> {
    found_with(fields, text, &[])
}

/// And with these native methods, each a function of its own.
fn found_with(
    fields: &[(&str, &str)],
    text: &str,
    natives: &[(&str, &str)],
) -> Result<Jvm, &'static str> {
    const RELATIVE: u64 = 8;
    let mut strings = text.as_bytes().to_vec();
    strings.push(0);
    let methods = TABLE + ENTRY * (fields.len() as u64 + 1);
    let behind = methods + 24 * natives.len() as u64;
    let mut pointers = vec![(POINTER_AT, TABLE)];
    for (index, (kind, field)) in fields.iter().enumerate() {
        for (word, text) in [(0, kind), (8, field)] {
            pointers.push((
                TABLE + ENTRY * index as u64 + word,
                behind + strings.len() as u64,
            ));
            strings.extend(text.bytes().chain([0]));
        }
    }
    for (index, (name, signature)) in natives.iter().enumerate() {
        let at = methods + 24 * index as u64;
        for (word, text) in [(0, name), (8, signature)] {
            pointers.push((at + word, behind + strings.len() as u64));
            strings.extend(text.bytes().chain([0]));
        }
        // push rbp; mov rbp, rsp; pop rbp; ret
        pointers.push((at + 16, behind + strings.len() as u64));
        strings.extend([0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3]);
    }
    let mut bytes = vec![0; (behind - AT) as usize];
    bytes.extend(&strings);
    let relocations = AT + bytes.len() as u64;
    for (at, value) in &pointers {
        let words = [*at, RELATIVE, *value];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    let size = pointers.len() as u64 * 24;
    let dynamic: Vec<u8> = [7, relocations, 8, size, 0, 0]
        .iter()
        .flat_map(|word: &u64| word.to_le_bytes())
        .collect();
    let segment = |kind, address, bytes| Loaded {
        kind,
        flags: PF_R | PF_X,
        address,
        bytes,
    };
    let file = file_loaded(&[
        segment(PT_LOAD, AT, &bytes),
        segment(PT_DYNAMIC, AT + 0x10_0000, &dynamic),
    ]);
    let image = Image::parse(&file).expect("a file as it should be");
    read(&image, CREATE, POINTER_AT)
}

const FIELDS: [(&str, &str); 5] = [
    ("JavaThread", "_osthread"),
    ("NamedThread", "_vthread"),
    ("JavaThread", "_threadObj"),
    ("JavaThread", "_vthread"),
    ("OSThread", "_pthread_id"),
];

#[test]
fn where_the_offsets_will_stand() {
    let text = "OpenJDK 64-Bit Server VM (21.0.8+9-LTS) for linux-amd64 JRE (21.0.8+9-LTS), built";
    let jvm = found(&FIELDS, text).expect("a JVM with virtual threads");
    let place = |index: u64| TABLE + ENTRY * index + OFFSET;
    assert_eq!(jvm.threads, [place(0), place(4), place(2)]);
    assert_eq!(jvm.virtual_threads, Some(place(3)));
    assert_eq!(jvm.wakes, None);
    assert_eq!(jvm.version.as_deref(), Some("21.0.8+9-LTS"));
    // Behind the file's header and two program headers.
    assert_eq!(jvm.bias, AT - (64 + 2 * 56));
}

#[test]
fn one_without_virtual_threads() {
    let [os_thread, .., pthread] = FIELDS;
    let jvm = found(&[os_thread, FIELDS[2], pthread], "").expect("a JVM");
    assert_eq!(jvm.virtual_threads, None);
    assert_eq!(jvm.version, None);
}

#[test]
fn where_a_thread_wakes_another_one() {
    const UNPARK: (&str, &str) = ("unpark", "(Ljava/lang/Object;)V");
    let wakes = |natives: &[_]| found_with(&FIELDS, "", natives).expect("a JVM").wakes;
    let found = wakes(&[("park", "(ZJ)V"), UNPARK]).expect("the function");
    assert_eq!(found.class, Class::Emulated);
    assert_eq!(wakes(&[("unpark", "(J)V")]), None);
    assert_eq!(wakes(&[UNPARK, UNPARK]), None, "which one is not known");
}

#[test]
fn tables_of_no_use() {
    assert!(found(&[], "").is_err(), "empty");
    assert!(found(&FIELDS[1..], "").is_err(), "without `_osthread`");
    assert!(found(&FIELDS[..4], "").is_err(), "without `_pthread_id`");
}
