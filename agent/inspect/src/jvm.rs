//! HotSpot: its library exports a table of its own structures for debuggers (`vmStructs.cpp`). The offsets in it
//! are filled in when the program starts, so that what is found in the file is where they will stand.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use memchr::memmem;

use crate::code::{Limits, sites};
use crate::elf::{Image, Symbols};
use crate::{Register, Site};

/// What the library of a JVM tells. Addresses are the file's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jvm {
    /// As it names itself: `21.0.8+9-LTS`.
    pub version: Option<String>,
    /// By how much addresses of code are larger than its offsets in the file (wraps around).
    pub bias: u64,
    /// Where the offsets of `Thread._osthread`, `OSThread._pthread_id` and `JavaThread._threadObj` stand.
    pub threads: [u64; 3],
    /// The same of `JavaThread._vthread`; `None`: it has no virtual threads, as before JDK 21.
    pub virtual_threads: Option<u64>,
    /// Where a thread wakes another one (`Unsafe.unpark`), with a handle of that one in RDX.
    pub wakes: Option<Site>,
}

const CREATE: &str = "JNI_CreateJavaVM";
const TABLE: &str = "gHotSpotVMStructs";
/// `struct VMStructEntry { typeName, fieldName, typeString, int32 isStatic, u64 offset, address }`.
const ENTRY: u64 = 48;
const OFFSET: u64 = 32;
const POINTER: u64 = 8;
const MAX_ENTRIES: u64 = 4096;
const MAX_NAME: usize = 256;
/// Types that have declared a field in one version or another, and the field.
const FIELDS: [(&[&str], &str); 4] = [
    (&["Thread", "JavaThread"], "_osthread"),
    (&["OSThread"], "_pthread_id"),
    (&["JavaThread"], "_threadObj"),
    (&["JavaThread"], "_vthread"),
];
/// What follows its version where it says what it is: `OpenJDK 64-Bit Server VM (21.0.8+9-LTS) for ..`.
const RELEASE: &[u8] = b") for linux-amd64 JRE (";
const MAX_RELEASE: usize = 64;

pub(crate) fn wants(name: &[u8]) -> bool {
    name == CREATE.as_bytes()
}

/// `None`: no JVM. The error is the reason for the user.
pub(crate) fn find(image: &Image<'_>, symbols: &Symbols<'_>) -> Option<Result<Jvm, &'static str>> {
    let create = symbols.named(CREATE).next()?.address;
    let data = Symbols::data(image, |name| name == TABLE.as_bytes());
    let table = data.named(TABLE).next()?.address;
    Some(read(image, create, table))
}

fn read(image: &Image<'_>, create: u64, table: u64) -> Result<Jvm, &'static str> {
    const UNKNOWN: &str = "the table of its structures has an unknown shape";
    let create_at = image.offset(create).ok_or(UNKNOWN)?;
    let first = pointer(image, table).ok_or(UNKNOWN)?;
    let entries = Entries::read(image, first);
    if entries.pointers.is_empty() {
        return Err(UNKNOWN);
    }
    const LACKS: &str = "the table of its structures lacks what leads to its threads";
    let place = |field| entries.find(field).map(|entry| entry + OFFSET);
    let [os_thread, pthread, object, vthread] = FIELDS;
    let [Some(os_thread), Some(pthread), Some(object)] = [os_thread, pthread, object].map(place)
    else {
        return Err(LACKS);
    };
    Ok(Jvm {
        version: release(image),
        bias: create.wrapping_sub(create_at),
        threads: [os_thread, pthread, object],
        virtual_threads: place(vthread),
        wakes: native(image, "unpark", "(Ljava/lang/Object;)V"),
    })
}

/// A method of Java's that is a function of the library, if just one has this name and type in a table of
/// `struct JNINativeMethod { name, signature, function }`. It takes a `JNIEnv *`, an object and another one.
fn native(image: &Image<'_>, name: &str, signature: &str) -> Option<Site> {
    let pointers: HashMap<u64, u64> = image.relative().map(|it| (it.at, it.value)).collect();
    let is = |at: u64, text: &str| {
        let found = pointers.get(&at);
        found.is_some_and(|&found| image.string(found, MAX_NAME) == Some(text))
    };
    let mut functions = pointers.keys().filter_map(|&at| {
        let found = is(at, name) && is(at.wrapping_add(POINTER), signature);
        found.then(|| pointers.get(&at.wrapping_add(2 * POINTER)))?
    });
    let function = *functions.next()?;
    if functions.next().is_some() {
        return None;
    }
    let registers = &[Register::Rdx];
    let found = sites(image, function, Limits::from_size(0), registers)?;
    (found.arguments == registers).then_some(found.entry)
}

fn release(image: &Image<'_>) -> Option<String> {
    image.regions().find_map(|region| {
        let end = memmem::find(region.bytes, RELEASE)?;
        let text = region.bytes.get(end.saturating_sub(MAX_RELEASE)..end)?;
        let start = text.iter().rposition(|byte| *byte == b'(')? + 1;
        String::from_utf8(text.get(start..)?.to_vec()).ok()
    })
}

/// The pointer that stands at this address once the file is loaded.
fn pointer(image: &Image<'_>, at: u64) -> Option<u64> {
    image.relative().find(|it| it.at == at).map(|it| it.value)
}

struct Entries<'a> {
    image: &'a Image<'a>,
    first: u64,
    /// What stands in them, by its place.
    pointers: HashMap<u64, u64>,
}

// === impl Entries ===

impl<'a> Entries<'a> {
    fn read(image: &'a Image<'a>, first: u64) -> Self {
        let places = first..first.saturating_add(MAX_ENTRIES * ENTRY);
        let inside = image.relative().filter(|it| places.contains(&it.at));
        let pointers = inside.map(|it| (it.at, it.value)).collect();
        Self {
            image,
            first,
            pointers,
        }
    }

    /// Address of a field's entry.
    fn find(&self, (types, field): (&[&str], &str)) -> Option<u64> {
        let text = |at: u64| self.image.string(*self.pointers.get(&at)?, MAX_NAME);
        (0..MAX_ENTRIES)
            .map(|index| self.first + index * ENTRY)
            .take_while(|entry| self.pointers.contains_key(entry))
            .find(|entry| {
                let is_type = || text(*entry).is_some_and(|name| types.contains(&name));
                text(entry + POINTER) == Some(field) && is_type()
            })
    }
}
