//! libFuzzer, driven by a `main` that is not its own.

use std::{
    env,
    ffi::{CString, c_char, c_int},
    ptr,
    sync::OnceLock,
};

use libfuzzer_sys::fuzz_target;

/// Hands this process over to libFuzzer, with the arguments of this process. Gives the status to exit with.
pub(crate) fn run(target: fn(&[u8])) -> c_int {
    CHOSEN.get_or_init(|| target);
    let arguments: Vec<CString> = env::args().map(|argument| CString::new(argument).expect("arguments of a process hold no NUL")).collect();
    let mut pointers: Vec<*mut c_char> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    let mut count = c_int::try_from(pointers.len()).expect("a process has few arguments");
    pointers.push(ptr::null_mut());
    let mut start = pointers.as_mut_ptr();
    // SAFETY: the arguments are as `main` of C has them, and outlive the call; libFuzzer does not write to them.
    #[expect(unsafe_code, reason = "libFuzzer is C++")]
    unsafe {
        LLVMFuzzerRunDriver(&raw mut count, &raw mut start, LLVMFuzzerTestOneInput)
    }
}

static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    if let Some(target) = CHOSEN.get() {
        target(input);
    }
});

#[expect(unsafe_code, reason = "libFuzzer is C++")]
unsafe extern "C" {
    fn LLVMFuzzerRunDriver(
        count: *mut c_int,
        arguments: *mut *mut *mut c_char,
        target: unsafe extern "C" fn(data: *const u8, size: usize) -> c_int,
    ) -> c_int;

    fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int;
}
