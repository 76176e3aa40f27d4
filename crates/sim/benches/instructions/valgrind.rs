//! What a program can ask of callgrind while it runs under it. Anywhere else this does nothing.

/// Requests of callgrind's public interface: its letters, then a number.
const ZERO_STATS: usize = 0x4354_0001;
const TOGGLE_COLLECT: usize = 0x4354_0002;
const DUMP_STATS_AT: usize = 0x4354_0003;

/// Counts the instructions of `part`.
pub fn count<T>(part: impl FnOnce() -> T) -> T {
    request(TOGGLE_COLLECT, 0);
    let result = part();
    request(TOGGLE_COLLECT, 0);
    result
}

/// Starts again at zero.
pub fn reset() {
    request(ZERO_STATS, 0);
}

/// Writes what was counted into a file that carries the name.
pub fn dump(name: &std::ffi::CStr) {
    request(DUMP_STATS_AT, name.as_ptr() as usize);
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn request(number: usize, argument: usize) {
    let request: [usize; 6] = [number, argument, 0, 0, 0, 0];
    let mut _answer = 0_usize;
    // SAFETY: the four rotations add up to whole turns and the exchange is of a register with itself,
    // so that a processor does nothing. Valgrind knows the sequence, and reads the array behind rax,
    // whose strings live until it has.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &raw const request,
            inout("rdx") _answer,
            options(nostack),
        );
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn request(_number: usize, _argument: usize) {}
