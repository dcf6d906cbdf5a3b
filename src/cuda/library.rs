//! Opens NVIDIA's libraries, or the emulator's in their place, before `cudarc` looks for them.
//!
//! `cudarc` opens a library by its bare name when the first of its functions is called, and panics
//! where the loader knows none. The loader knows what is already in the process, whatever folder it
//! came from; so each library is opened here first, by its path, and stays open. Of several CUDA
//! versions the first is taken that the card and its driver can use: CUDA 13 has dropped the cards
//! before sm_75.

use super::nvrtc::Nvrtc;
use super::search::{SEARCH_VARIABLE, candidates};
use crate::error::{Error, Kind, Result};
use libloading::{Library as Handle, Symbol};
use std::collections::BTreeSet;
use std::ffi::c_int;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The major versions of CUDA that copla knows, the newest first.
const MAJORS: [u32; 2] = [13, 12];
/// The oldest card that CUDA 13 has code for.
pub const OLDEST_OF_CUDA_13: u32 = 75;

/// Which CUDA this process uses. It can be only one: `cudarc` keeps what it has opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Libraries {
    /// What is installed here.
    Real,
    /// The emulator's `libcuda.so`, `libnvrtc.so`, `libcublas.so` and `libcublasLt.so` in this folder.
    Emulated(PathBuf),
}

impl fmt::Display for Libraries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Libraries::Real => f.write_str("those installed here"),
            Libraries::Emulated(folder) => write!(f, "the emulator's in {}", folder.display()),
        }
    }
}

/// A library that is open, and stays so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    pub path: PathBuf,
    /// Major and minor; of the driver, the newest CUDA that it runs.
    pub version: (u32, u32),
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.version;
        write!(f, "{major}.{minor} ({})", self.path.display())
    }
}

/// The driver, open. What else a card needs is opened for its capability.
#[derive(Debug)]
pub struct Driver {
    pub library: Library,
    libraries: Libraries,
}

/// Opens the driver at the first call that succeeds: from then on `cudarc::driver` can be called.
/// The libraries are those of [`use_libraries`](super::use_libraries).
pub(super) fn open(libraries: &Libraries) -> Result<&'static Driver> {
    static OPEN: Mutex<Option<&'static Driver>> = Mutex::new(None);
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    match *open {
        Some(driver) => Ok(driver),
        None => {
            let driver = Driver { library: open_driver(libraries)?, libraries: libraries.clone() };
            Ok(open.insert(Box::leak(Box::new(driver))))
        }
    }
}

impl Driver {
    /// The first NVRTC that builds for this capability (60 for sm_60) and no newer than the driver,
    /// which would not load its code.
    pub fn compiler(&self, capability: u32) -> Result<Nvrtc> {
        let newest = self.newest(capability);
        let mut refused = Vec::new();
        for nvrtc in compilers(&self.libraries) {
            if nvrtc.target(capability).is_some() && nvrtc.library.version.0 <= newest {
                return Ok(nvrtc);
            }
            refused.push(nvrtc.library.to_string());
        }
        Err(self.missing("NVRTC", "nvidia-cuda-nvrtc", capability, &refused))
    }

    /// cuBLAS with its cublasLt, for `cudarc::cublas` and `cudarc::cublaslt`: of the compiler's major
    /// version if possible.
    pub fn blas(&self, capability: u32, compiler: &Nvrtc) -> Result<Library> {
        let newest = self.newest(capability);
        let mut majors: Vec<u32> = MAJORS.into_iter().filter(|&major| major <= newest).collect();
        majors.sort_by_key(|&major| major != compiler.library.version.0);
        let opened = majors
            .iter()
            .flat_map(|&major| candidates("cublas", &[major], &self.libraries))
            .find_map(|path| open_forever(&path));
        if let Some(handle) = opened {
            let path = path_of(handle, "cublasGetProperty");
            let name = path.file_name().map_or("".into(), |name| name.to_string_lossy());
            open_forever(&path.with_file_name(name.replace("cublas", "cublasLt")));
        }
        let Some(blas) = blas_of_cudarc() else {
            return Err(self.missing("cuBLAS", "nvidia-cublas", capability, &[]));
        };
        // By the names that `cudarc` asks for, the loader may know another before the one opened here.
        if blas.version.0 > newest {
            let expected =
                format!("one of CUDA {newest}.x, which sm_{capability} and this driver need");
            let found = format!("{blas}, first in LD_LIBRARY_PATH or the loader's cache");
            return Err(Error::new(Kind::Failure, "cuBLAS", expected, found));
        }
        Ok(blas)
    }

    /// The newest CUDA, by its major version, that this driver runs and that has code for the card.
    fn newest(&self, capability: u32) -> u32 {
        // The emulator plays every card.
        let dropped = capability < OLDEST_OF_CUDA_13 && self.libraries == Libraries::Real;
        MAJORS
            .into_iter()
            .find(|&major| major <= self.library.version.0 && (major < 13 || !dropped))
            .unwrap_or(MAJORS[MAJORS.len() - 1])
    }

    fn missing(&self, what: &str, package: &str, capability: u32, refused: &[String]) -> Error {
        if let Libraries::Emulated(folder) = &self.libraries {
            return emulator_lacks(what, folder);
        }
        let newest = self.newest(capability);
        let suffix = if newest < 13 { "-cu12" } else { "" };
        let found = match refused {
            [] => "none".to_string(),
            refused => format!("only {}", refused.join(", ")),
        };
        Error::new(
            Kind::Failure,
            what,
            format!(
                "one of CUDA {newest}.x for sm_{capability} (pip install {package}{suffix}, or its folder in {SEARCH_VARIABLE})"
            ),
            found,
        )
    }
}

fn emulator_lacks(what: &str, folder: &Path) -> Error {
    Error::new(
        Kind::Failure,
        folder.display().to_string(),
        format!("the emulator's {what}"),
        "none",
    )
}

fn open_driver(libraries: &Libraries) -> Result<Library> {
    let handle = candidates("cuda", &[1], libraries).iter().find_map(|path| open_forever(path));
    let Some(handle) = handle else {
        return Err(match libraries {
            Libraries::Emulated(folder) => emulator_lacks("driver", folder),
            Libraries::Real => Error::new(
                Kind::Failure,
                "CUDA",
                "NVIDIA's driver, libcuda.so.1 (of branch 580 at most for a card before sm_75, such as the P100)",
                "none on this machine",
            ),
        });
    };
    let path = path_of(handle, "cuInit");
    // SAFETY: cuda.h: CUresult cuDriverGetVersion(int*), which needs no cuInit.
    let version = unsafe {
        let mut version: c_int = 0;
        if let Ok(get) =
            handle.get::<unsafe extern "C" fn(*mut c_int) -> c_int>("cuDriverGetVersion")
        {
            get(&mut version);
        }
        version.unsigned_abs()
    };
    let driver = Library { path, version: (version / 1000, version % 1000 / 10) };
    // SAFETY: opens by name what is open already, or what the loader knows under that name.
    let visible = unsafe { cudarc::driver::sys::is_culib_present() };
    if !visible || driver.version.0 < MAJORS[MAJORS.len() - 1] {
        let expected = "a driver for CUDA 12 or newer (branch 525 or newer)";
        return Err(Error::new(Kind::Failure, "CUDA", expected, driver.to_string()));
    }
    Ok(driver)
}

/// Every NVRTC of this machine in the order of preference, opened as the iterator reaches it.
pub fn compilers(libraries: &Libraries) -> impl Iterator<Item = Nvrtc> {
    let mut seen = BTreeSet::new();
    candidates("nvrtc", &MAJORS, libraries)
        .into_iter()
        .filter_map(|path| {
            let handle = open_forever(&path)?;
            Nvrtc::new(handle, path_of(handle, "nvrtcVersion"))
        })
        .filter(move |nvrtc| seen.insert(nvrtc.library.path.clone()))
}

/// The cuBLAS that `cudarc` opens, if it finds both that and cublasLt.
fn blas_of_cudarc() -> Option<Library> {
    // SAFETY: opens by name what is open already, or what the loader knows under that name; only
    // what is present is asked for.
    let handle = unsafe {
        let present =
            cudarc::cublas::sys::is_culib_present() && cudarc::cublaslt::sys::is_culib_present();
        present.then(|| cudarc::cublas::sys::culib())?
    };
    let property = |which: c_int| -> Option<u32> {
        // SAFETY: library_types.h and cublas_v2.h: cublasStatus_t cublasGetProperty(libraryPropertyType, int*).
        unsafe {
            let get: Symbol<unsafe extern "C" fn(c_int, *mut c_int) -> c_int> =
                handle.get("cublasGetProperty").ok()?;
            let mut value = 0;
            (get(which, &mut value) == 0).then_some(value.unsigned_abs())
        }
    };
    let version = (property(0)?, property(1)?);
    Some(Library { path: path_of(handle, "cublasGetProperty"), version })
}

/// Opens a library for the rest of the process; None if the loader refuses it.
fn open_forever(path: &Path) -> Option<&'static Handle> {
    // SAFETY: the paths are NVIDIA's libraries or the emulator's, which run nothing but their own
    // initialisation when they are loaded.
    let handle = unsafe { Handle::new(path) }.ok()?;
    Some(Box::leak(Box::new(handle)))
}

/// The file that a library was loaded from: where one of its functions lies in memory. An empty
/// path if it has no such function.
fn path_of(handle: &Handle, function: &str) -> PathBuf {
    // SAFETY: the address is only compared, never called or read.
    let address = match unsafe { handle.get::<unsafe extern "C" fn()>(function) } {
        Ok(symbol) => *symbol as usize,
        Err(_) => return PathBuf::new(),
    };
    mapped_file(&std::fs::read_to_string("/proc/self/maps").unwrap_or_default(), address)
        .unwrap_or_default()
}

/// The file that /proc/self/maps (`start-end rwxp offset device inode path`) names for an address.
fn mapped_file(maps: &str, address: usize) -> Option<PathBuf> {
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let path = rest.find('/').map(|at| PathBuf::from(&rest[at..]))?;
        (start..end).contains(&address).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(version: (u32, u32)) -> Driver {
        let library = Library { path: "libcuda.so.1".into(), version };
        Driver { library, libraries: Libraries::Real }
    }

    #[test]
    fn cuda_13_is_for_cards_and_drivers_that_take_it() {
        assert_eq!(driver((13, 0)).newest(60), 12);
        assert_eq!(driver((13, 0)).newest(70), 12);
        assert_eq!(driver((13, 0)).newest(75), 13);
        assert_eq!(driver((12, 4)).newest(75), 12);
        assert_eq!(driver((14, 1)).newest(90), 13);
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let error = driver((13, 0)).missing("NVRTC", "nvidia-cuda-nvrtc", 60, &[]).to_string();
        assert!(error.contains("pip install nvidia-cuda-nvrtc-cu12,"), "{error}");
        let error = driver((13, 0)).missing("NVRTC", "nvidia-cuda-nvrtc", 75, &["12.0".into()]);
        assert!(error.to_string().contains("pip install nvidia-cuda-nvrtc,"), "{error}");
        assert!(error.to_string().ends_with("found only 12.0"), "{error}");
    }

    #[test]
    fn an_emulator_that_is_not_there_is_no_panic() {
        let folder = Libraries::Emulated("/nonexistent".into());
        let error = open_driver(&folder).unwrap_err().to_string();
        assert_eq!(error, "/nonexistent: expected the emulator's driver, found none");
        assert_eq!(compilers(&folder).count(), 0);
    }

    #[test]
    fn an_address_belongs_to_the_file_mapped_there() {
        let maps = "7f10-7f20 r-xp 00000000 08:01 99 /usr/lib/a file.so\n7f20-7f30 rw-p 00000000 00:00 0 \n7f40-7f50 r--p 00000000 08:01 98 /b.so";
        assert_eq!(mapped_file(maps, 0x7f1f), Some("/usr/lib/a file.so".into()));
        assert_eq!(mapped_file(maps, 0x7f20), None);
        assert_eq!(mapped_file(maps, 0x7f40), Some("/b.so".into()));
        let here = std::fs::read_to_string("/proc/self/maps").unwrap();
        let own = mapped_file(&here, mapped_file as *const () as usize);
        assert_eq!(own, std::env::current_exe().ok());
    }
}
