//! Memory in large pages.
//!
//! The system makes a page when it is touched first, and 512 small ones take several times as long as a large one of the
//! same size; a CPU that walks through much memory knows the addresses of few small pages at a time.

use memmap2::MmapMut;
use std::io;

/// Most systems' large pages.
const LARGE_PAGE: usize = 2 << 20;

/// Zeroed memory that has so many bytes from the offset on, and from there on large pages, if it is large enough for one and
/// the system has them. What nobody touches takes addresses and no memory.
///
/// # Errors
/// If the system has no memory.
pub(crate) fn zeroed(bytes: usize) -> io::Result<(MmapMut, usize)> {
    if bytes < LARGE_PAGE {
        return Ok((MmapMut::map_anon(bytes.max(1))?, 0));
    }
    let whole = bytes.checked_next_multiple_of(LARGE_PAGE).and_then(|whole| whole.checked_add(LARGE_PAGE));
    let map = MmapMut::map_anon(whole.ok_or(io::ErrorKind::OutOfMemory)?)?;
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage); // a system without them gives small ones
    let start = map.as_ptr().align_offset(LARGE_PAGE);
    Ok((map, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zero_and_starts_with_a_page() {
        for bytes in [0, 1, LARGE_PAGE - 1, LARGE_PAGE, 3 * LARGE_PAGE + 1] {
            let (map, start) = zeroed(bytes).unwrap();
            let values = &map[start..][..bytes];
            assert!(values.iter().all(|&value| value == 0));
            let page = if bytes < LARGE_PAGE { 4096 } else { LARGE_PAGE };
            assert_eq!(values.as_ptr().addr() % page, 0, "{bytes} bytes");
        }
        assert_eq!(zeroed(usize::MAX).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }
}
