//! May this process use tiles? Linux gives them only to processes that ask.

use super::super::{avx2, avx512};
use std::{
    arch::{asm, x86_64::__cpuid_count},
    sync::LazyLock,
};

/// Does this CPU have AMX and does the system let this process use it? Asks the system once.
pub(in crate::engine::kernels::x86_64) fn available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| {
        if !has_instructions() {
            return false;
        }
        let permitted = request();
        if !permitted {
            log::warn!("the system refuses the use of AMX tiles; kernels 'amx-int8' and 'amx-planes' are not available");
        }
        permitted
    });
    *AVAILABLE
}

/// AMX, and what the code around it uses; CPUID leaf 7 has AMX-TILE and AMX-INT8.
fn has_instructions() -> bool {
    let around = avx2::available() && avx512::available() && is_x86_feature_detected!("avx512vbmi");
    around && __cpuid_count(7, 0).edx >> 24 & 3 == 3
}

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
#[cfg(target_os = "linux")]
fn request() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: a system call that touches no memory of the process.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn request() -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::engine::{Mode, kernels};
    use std::{env, process::Command, sync::Mutex};

    /// Set in the process that is refused.
    const REFUSED: &str = "ONEBIT_TEST_TILES_REFUSED";

    /// Linux refuses tiles to a process with a signal stack that their state would overflow. What it once granted it does
    /// not take back, so this takes a process of its own.
    #[test]
    fn a_refusal_leaves_the_other_kernels_and_one_warning() {
        if env::var_os(REFUSED).is_some() {
            return refused();
        }
        let (_, module) = module_path!().split_once("::").expect("a module of the crate");
        let test = format!("{module}::a_refusal_leaves_the_other_kernels_and_one_warning");
        let executable = env::current_exe().unwrap();
        let output = Command::new(executable).args(["--exact", &test]).env(REFUSED, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }

    fn refused() {
        static LOG: Log = Log(Mutex::new(Vec::new()));
        log::set_logger(&LOG).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        shrink_signal_stack();
        for _ in 0..2 {
            let names = kernels(Mode::Int8);
            assert!(!names.contains(&"amx-int8") && names.contains(&"portable"), "{names:?}");
            assert!(!kernels(Mode::F32).contains(&"amx-planes"));
            assert_eq!(names.contains(&"avx512-vnni"), avx2::available() && avx512::available());
        }
        let lines = LOG.0.lock().unwrap();
        let expected = has_instructions()
            .then_some("the system refuses the use of AMX tiles; kernels 'amx-int8' and 'amx-planes' are not available");
        assert!(lines.iter().map(String::as_str).eq(expected), "{lines:?}");
    }

    /// `sigaltstack`: 4 KiB for this thread.
    fn shrink_signal_stack() {
        #[repr(C)]
        struct Stack {
            start: *mut u8,
            flags: i32,
            size: usize,
        }
        const SIGALTSTACK: i64 = 131;
        let memory = vec![0; 4096].leak();
        let stack = Stack { start: memory.as_mut_ptr(), flags: 0, size: memory.len() };
        let result: i64;
        // SAFETY: the memory is never freed.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") SIGALTSTACK => result,
                in("rdi") &raw const stack,
                in("rsi") 0,
                out("rcx") _,
                out("r11") _,
                options(nostack)
            );
        }
        assert_eq!(result, 0, "sigaltstack");
    }

    struct Log(Mutex<Vec<String>>);

    impl log::Log for Log {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            self.0.lock().unwrap().push(record.args().to_string());
        }

        fn flush(&self) {}
    }
}
