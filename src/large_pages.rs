//! Large pages, asked for.

/// Asks the system for large pages in memory that nobody has touched yet: it makes a page when it is touched first, and
/// 512 small ones take several times as long as a large one of the same size. Where there are none, nothing changes.
#[cfg(target_os = "linux")]
pub(crate) fn in_large_pages<T>(values: &[T]) {
    use rustix::mm::{Advice, madvise};
    const PAGE: usize = 4096;
    let before = values.as_ptr().addr() % PAGE;
    let start = values.as_ptr().cast::<u8>().wrapping_sub(before);
    let bytes = (before + size_of_val(values)).next_multiple_of(PAGE);
    // SAFETY: this kind of advice changes no contents, whoever they belong to.
    let _ = unsafe { madvise(start.cast_mut().cast(), bytes, Advice::LinuxHugepage) };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn in_large_pages<T>(_: &[T]) {}
