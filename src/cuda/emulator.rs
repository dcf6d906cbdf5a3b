//! The emulator: CUDA for a machine without a card, made by g++ from `kernels/emulator/`.
//!
//! It is four libraries behind the names of NVIDIA's, so that everything above the driver is the code
//! that a card sees. Its NVRTC compiles the very files of `kernels/` for this processor and runs one
//! fiber per CUDA thread. Built when first asked for, and kept in the cache folder.

use super::gpu::{fault, use_libraries};
use super::launch::Ptr;
use super::library::Libraries;
use crate::error::{Error, Kind, Result};
use crate::formats::cache_dir;
use cudarc::driver::sys::{CUresult, CUstream};
use libloading::{Library, Symbol};
use std::ffi::{CStr, c_char, c_int};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

macro_rules! sources {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../kernels/emulator/", $name)))),*]
    };
}

const SOURCES: &[(&str, &str)] = sources! {
    "block.cpp"
    "block.h"
    "build.sh"
    "checker.cpp"
    "checker.h"
    "common.h"
    "cublas.cpp"
    "cublaslt.cpp"
    "driver.h"
    "driver_device.cpp"
    "driver_launch.cpp"
    "driver_memory.cpp"
    "emulator.h"
    "fiber.cpp"
    "fiber.h"
    "gemm.cpp"
    "gemm.h"
    "intrinsics.h"
    "matmul.cpp"
    "matmul.h"
    "memory.cpp"
    "memory.h"
    "module.cpp"
    "module.h"
    "nvrtc.cpp"
    "stream.cpp"
    "stream.h"
    "warp.cpp"
};

/// In which order the threads of a block, and the blocks of a grid, come to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Forward,
    Reverse,
    /// Shuffled, by this seed.
    Random(u64),
}

/// What is looked at while kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// Only that accesses by the driver stay within memory: fast.
    Off,
    /// Every access of every thread: races, barriers, bounds, reads of what was never written.
    On,
}

/// The emulator of this process.
pub struct Emulator {
    driver: Library,
    checks: Checks,
}

static STARTED: OnceLock<Emulator> = OnceLock::new();

/// Whether this process's CUDA is the emulator with its checks on.
pub fn checks_accesses() -> bool {
    STARTED.get().is_some_and(|emulator| emulator.checks == Checks::On)
}

/// See [`DeviceMemory::lend`](super::DeviceMemory::lend).
pub(super) fn lend(start: Ptr, bytes: usize, stream: CUstream) -> Result<()> {
    let Some(emulator) = STARTED.get().filter(|emulator| emulator.checks == Checks::On) else {
        return Ok(());
    };
    type Lend = unsafe extern "C" fn(u64, usize, CUstream) -> CUresult;
    // SAFETY: driver_memory.cpp has this function with these arguments.
    let lent = unsafe {
        emulator.function::<Lend>("lend").map(|lend| lend(start.0, bytes, stream).result())
    };
    lent.unwrap_or(Ok(())).map_err(|e| fault("emulator", "memory that can be lent", e))
}

/// Makes the emulator this process's CUDA and opens it; what the first caller says of checks stands.
/// Fails, with one line, where there is no g++ or where the process has another CUDA already.
pub fn start(checks: Checks) -> Result<&'static Emulator> {
    if let Some(emulator) = STARTED.get() {
        return Ok(emulator);
    }
    let folder = build()?;
    use_libraries(Libraries::Emulated(folder.clone()))?;
    let path = folder.join("libcuda.so");
    // SAFETY: our own library, whose constructors only fill tables of its own.
    let driver = unsafe { Library::new(&path) }
        .map_err(|e| failed(&folder, "a library that opens", e.to_string()))?;
    Ok(STARTED.get_or_init(|| Emulator { driver, checks }))
}

impl Emulator {
    /// The order of the launches that this thread makes from now on.
    pub fn set_order(&self, order: Order) {
        let (mode, seed) = match order {
            Order::Forward => (0, 0),
            Order::Reverse => (1, 0),
            Order::Random(seed) => (2, seed),
        };
        // SAFETY: driver_launch.cpp has this function with these arguments.
        unsafe {
            if let Some(set) = self.function::<unsafe extern "C" fn(c_int, u64)>("set_order") {
                set(mode, seed);
            }
        }
    }

    /// What the last fault was, in words; empty before the first.
    pub fn last_error(&self) -> String {
        // SAFETY: driver_device.cpp has this function; it gives a string that ends in a zero.
        unsafe {
            self.function::<unsafe extern "C" fn() -> *const c_char>("last_error")
                .map_or_else(String::new, |last| {
                    CStr::from_ptr(last()).to_string_lossy().into_owned()
                })
        }
    }

    /// Lets the context go on after a fault, as no card's does.
    pub fn clear_error(&self) {
        // SAFETY: driver_device.cpp has this function.
        unsafe {
            if let Some(clear) = self.function::<unsafe extern "C" fn()>("clear_error") {
                clear();
            }
        }
    }

    /// A function of the emulator's own beside the driver's.
    ///
    /// # Safety
    ///
    /// `F` is the type that it has there.
    unsafe fn function<F>(&self, name: &str) -> Option<Symbol<'_, F>> {
        // SAFETY: the caller answers for the type.
        unsafe { self.driver.get(format!("copla_emulator_{name}")).ok() }
    }
}

/// The folder with the libraries, built if they are not there.
fn build() -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    SOURCES.hash(&mut hasher);
    let root = cache_dir().unwrap_or_else(|| std::env::temp_dir().join("copla"));
    let folder = root.join(format!("emulator-{:016x}", hasher.finish()));
    let done = folder.join("built");
    let io = |e: std::io::Error| failed(&folder, "a folder to build in", e.to_string());
    std::fs::create_dir_all(&folder).map_err(io)?;
    // One process builds, the others wait for it.
    let lock = File::create(folder.join("lock")).map_err(io)?;
    lock.lock().map_err(io)?;
    if !done.exists() {
        compile(&folder)?;
        File::create(&done).map_err(io)?;
    }
    Ok(folder)
}

fn compile(folder: &Path) -> Result<()> {
    let sources = folder.join("sources");
    let written = std::fs::create_dir_all(&sources).and_then(|()| {
        SOURCES.iter().try_for_each(|(name, text)| std::fs::write(sources.join(name), text))
    });
    written.map_err(|e| failed(folder, "room for the emulator's sources", e.to_string()))?;
    let run = Command::new("sh").arg(sources.join("build.sh")).arg(folder).output();
    let run = run.map_err(|e| failed(folder, "sh, to build it", e.to_string()))?;
    if run.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&run.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing").to_string();
    Err(failed(folder, "a g++ (12 or newer) that builds it", last))
}

fn failed(folder: &Path, expected: &str, found: String) -> Error {
    Error::new(Kind::Failure, format!("emulator in {}", folder.display()), expected, found)
}
