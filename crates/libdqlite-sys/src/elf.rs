//! What the loader has bound the engine to, read from the engine's own relocations.
//!
//! ```text
//! PT_DYNAMIC ─► DT_JMPREL, DT_RELA ─► Elf64_Rela { offset, info, addend }
//!                                        │           └─► DT_SYMTAB[n].name in DT_STRTAB
//!                                        └─► base + offset: the address that calls go to
//! ```
//!
//! The library is opened with `RTLD_NOW`, so every address is final. 64-bit ELF with addends:
//! x86-64 and aarch64.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Range;

const DT_NULL: i64 = 0;
const DT_PLTRELSZ: i64 = 2;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_RELA: i64 = 7;
const DT_RELASZ: i64 = 8;
const DT_JMPREL: i64 = 23;

/// The public beginning of the loader's record of a library.
#[repr(C)]
struct LinkMap {
    base: usize,
    name: *const c_char,
    dynamic: *const Dynamic,
}

#[repr(C)]
struct Dynamic {
    tag: i64,
    value: usize,
}

#[repr(C)]
struct Relocation {
    offset: usize,
    info: u64,
    addend: i64,
}

#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

#[derive(Default)]
struct Tables {
    strings: usize,
    symbols: usize,
    relocations: usize,
    relocations_bytes: usize,
    calls: usize,
    calls_bytes: usize,
}

/// The address that calls of `name` inside the library behind `handle` go to; none if the library
/// does not import that name.
///
/// # Safety
/// `handle` came from `dlopen` with `RTLD_NOW` and is not closed.
pub(crate) unsafe fn bound_to(handle: *mut c_void, name: &str) -> Option<usize> {
    // SAFETY: the caller's handle.
    let map = unsafe { record(handle) }?;
    // SAFETY: the record's dynamic section belongs to the library, which is open.
    let tables = unsafe { read_dynamic(map) };
    let lists = [
        (tables.calls, tables.calls_bytes),
        (tables.relocations, tables.relocations_bytes),
    ];
    for (start, bytes) in lists {
        let count = bytes / size_of::<Relocation>();
        for index in 0..count {
            // SAFETY: the dynamic section gives start and length of this table, and of the symbols
            // and strings that it refers to; they are mapped for as long as the library is open.
            unsafe {
                let relocation = &*(start as *const Relocation).add(index);
                let number = usize::try_from(relocation.info >> 32).unwrap_or(0);
                if number == 0 {
                    continue;
                }
                let symbol = &*(tables.symbols as *const Symbol).add(number);
                let text =
                    CStr::from_ptr((tables.strings as *const c_char).add(symbol.name as usize));
                if text.to_bytes() == name.as_bytes() {
                    return Some(*((map.base + relocation.offset) as *const usize));
                }
            }
        }
    }
    None
}

/// # Safety
/// `handle` came from `dlopen` and is not closed, and the record is not used after it is.
unsafe fn record<'a>(handle: *mut c_void) -> Option<&'a LinkMap> {
    let mut map: *const LinkMap = std::ptr::null();
    // SAFETY: the handle is live, and this request writes one pointer.
    let code = unsafe { libc::dlinfo(handle, libc::RTLD_DI_LINKMAP, (&raw mut map).cast()) };
    if code != 0 {
        return None;
    }
    // SAFETY: the loader keeps the record for as long as the library is open.
    unsafe { map.as_ref() }
}

/// The addresses between which the library behind `handle` is mapped; empty if the loader does not
/// say.
///
/// # Safety
/// `handle` came from `dlopen` and is not closed.
pub(crate) unsafe fn extent(handle: *mut c_void) -> Range<usize> {
    // SAFETY: the caller's handle.
    let Some(map) = (unsafe { record(handle) }) else {
        return 0..0;
    };
    let mut extent = map.base..map.base;
    // SAFETY: the callback is of the type wanted, and `extent` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(widen), (&raw mut extent).cast()) };
    extent
}

/// Widens the range in `extent` to the segments of the object that is loaded at its start.
unsafe extern "C" fn widen(
    object: *mut libc::dl_phdr_info,
    _: usize,
    extent: *mut c_void,
) -> c_int {
    // SAFETY: the loader gives a description of a loaded object, `extent` gives the range.
    unsafe {
        let (object, extent) = (&*object, &mut *extent.cast::<Range<usize>>());
        if usize::try_from(object.dlpi_addr) != Ok(extent.start) {
            return 0;
        }
        for index in 0..usize::from(object.dlpi_phnum) {
            let segment = &*object.dlpi_phdr.add(index);
            let end = usize::try_from(segment.p_vaddr + segment.p_memsz).unwrap_or(0);
            if segment.p_type == libc::PT_LOAD {
                extent.end = extent.end.max(extent.start + end);
            }
        }
    }
    1
}

/// # Safety
/// `map` is the loader's record of an open library.
unsafe fn read_dynamic(map: &LinkMap) -> Tables {
    let mut tables = Tables::default();
    // The loader may or may not have made the addresses absolute.
    let absolute = |value: usize| {
        if value < map.base {
            map.base + value
        } else {
            value
        }
    };
    let mut entry = map.dynamic;
    loop {
        // SAFETY: the section ends with DT_NULL, where this loop ends.
        let Dynamic { tag, value } = unsafe { &*entry };
        match *tag {
            DT_NULL => return tables,
            DT_STRTAB => tables.strings = absolute(*value),
            DT_SYMTAB => tables.symbols = absolute(*value),
            DT_RELA => tables.relocations = absolute(*value),
            DT_RELASZ => tables.relocations_bytes = *value,
            DT_JMPREL => tables.calls = absolute(*value),
            DT_PLTRELSZ => tables.calls_bytes = *value,
            _ => {}
        }
        // SAFETY: this was not the last entry.
        entry = unsafe { entry.add(1) };
    }
}

/// Whether `address` lies in the same object file as this code: the program itself, where this
/// crate is linked into it.
pub fn is_of_this_program(address: usize) -> bool {
    let here = object_of(is_of_this_program as *const () as usize);
    here.is_some() && here == object_of(address)
}

fn object_of(address: usize) -> Option<usize> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: dladdr takes any address, and fills the structure where it returns non-zero.
    let found: c_int = unsafe { libc::dladdr(address as *const c_void, info.as_mut_ptr()) };
    // SAFETY: filled, as just said.
    (found != 0).then(|| unsafe { info.assume_init() }.dli_fbase as usize)
}
