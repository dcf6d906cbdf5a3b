//! NVIDIA's compiler in the process: CUDA C++ in, a CUBIN for one card out.
//!
//! Not by `cudarc`: that knows one NVRTC for the whole process, while here several may have to be
//! asked which cards they build for; and its safe calls return PTX, which an older driver refuses.
//! Source: NVRTC 12.9 documentation, "User Interface".

use super::library::Library;
use crate::error::{Error, Kind, Result};
use libloading::Library as Handle;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;

type Status = c_int;
type Program = *mut c_void;
const SUCCESS: Status = 0;

/// An NVRTC that is open; any number of threads may compile with it.
#[derive(Clone, Debug)]
pub struct Nvrtc {
    pub library: Library,
    /// The cards that it builds for, ascending: 60 for sm_60.
    pub supported: Vec<u32>,
    calls: Calls,
}

/// Machine code for one card.
#[derive(Debug)]
pub struct Cubin {
    pub bytes: Vec<u8>,
    /// Warnings, and with `--ptxas-options=-v` the registers of each kernel.
    pub log: String,
}

/// nvrtc.h, as far as it is needed.
#[derive(Clone, Copy, Debug)]
struct Calls {
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Status,
    destroy: unsafe extern "C" fn(*mut Program) -> Status,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    log: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    cubin_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    cubin: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    error: unsafe extern "C" fn(Status) -> *const c_char,
}

impl Nvrtc {
    /// None if the library is no NVRTC that writes CUBINs and says for which cards (CUDA 11.2 and on).
    pub(super) fn new(handle: &'static Handle, path: PathBuf) -> Option<Nvrtc> {
        // SAFETY: each name is given the type that nvrtc.h declares for it, and the library is never
        // closed; the version takes two ints, and the cards as many ints as it says there are.
        unsafe {
            let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status =
                *handle.get("nvrtcVersion").ok()?;
            let count: unsafe extern "C" fn(*mut c_int) -> Status =
                *handle.get("nvrtcGetNumSupportedArchs").ok()?;
            let archs: unsafe extern "C" fn(*mut c_int) -> Status =
                *handle.get("nvrtcGetSupportedArchs").ok()?;
            let calls = Calls {
                create: *handle.get("nvrtcCreateProgram").ok()?,
                destroy: *handle.get("nvrtcDestroyProgram").ok()?,
                compile: *handle.get("nvrtcCompileProgram").ok()?,
                log_size: *handle.get("nvrtcGetProgramLogSize").ok()?,
                log: *handle.get("nvrtcGetProgramLog").ok()?,
                cubin_size: *handle.get("nvrtcGetCUBINSize").ok()?,
                cubin: *handle.get("nvrtcGetCUBIN").ok()?,
                error: *handle.get("nvrtcGetErrorString").ok()?,
            };
            let (mut major, mut minor, mut cards) = (0, 0, 0);
            if version(&mut major, &mut minor) != SUCCESS || count(&mut cards) != SUCCESS {
                return None;
            }
            let mut supported = vec![0; usize::try_from(cards).ok()?];
            if archs(supported.as_mut_ptr()) != SUCCESS {
                return None;
            }
            let mut supported: Vec<u32> = supported.into_iter().map(c_int::unsigned_abs).collect();
            supported.sort_unstable();
            let version = (major.unsigned_abs(), minor.unsigned_abs());
            Some(Nvrtc { library: Library { path, version }, supported, calls })
        }
    }

    /// The `sm_` to build for a card of this capability: the newest of its generation that is not
    /// newer than the card, which runs its code. None if there is none.
    pub fn target(&self, capability: u32) -> Option<u32> {
        let runs = |&arch: &u32| arch / 10 == capability / 10 && arch <= capability;
        self.supported.iter().copied().rfind(runs)
    }

    /// Compiles one source. `headers` are the `(name, text)` that it may include; `options` choose
    /// the card (`--gpu-architecture=sm_60`) and the language.
    pub fn compile(
        &self,
        source: &str,
        name: &str,
        headers: &[(&str, &str)],
        options: &[String],
    ) -> Result<Cubin> {
        let text = |text: &str| {
            CString::new(text).map_err(|error| {
                Error::new(Kind::Failure, name, "CUDA C++ without a zero byte", "one")
                    .because(error)
            })
        };
        let source = text(source)?;
        let file = text(name)?;
        let names = headers.iter().map(|&(name, _)| text(name)).collect::<Result<Vec<_>>>()?;
        let texts = headers.iter().map(|&(_, source)| text(source)).collect::<Result<Vec<_>>>()?;
        let flags = options.iter().map(|option| text(option)).collect::<Result<Vec<_>>>()?;
        let (names, texts, flags) = (pointers(&names), pointers(&texts), pointers(&flags));

        let mut program = Handled { calls: &self.calls, program: std::ptr::null_mut() };
        // SAFETY: all strings end in a zero and live until the end of this function, and the counts
        // are those of the arrays; what is created here is destroyed with `program`.
        let status = unsafe {
            (self.calls.create)(
                &mut program.program,
                source.as_ptr(),
                file.as_ptr(),
                count(&names),
                texts.as_ptr(),
                names.as_ptr(),
            )
        };
        if status != SUCCESS {
            return Err(self.failure(name, options, status, ""));
        }
        // SAFETY: the program exists, and `flags` are as many strings that end in a zero; the log's
        // calls fill as many bytes as they ask for, whether the compilation has succeeded or not.
        let (status, log) = unsafe {
            let status = (self.calls.compile)(program.program, count(&flags), flags.as_ptr());
            (status, program.read(self.calls.log_size, self.calls.log).unwrap_or_default())
        };
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_string();
        if status != SUCCESS {
            return Err(self.failure(name, options, status, &log));
        }
        // SAFETY: as for the log; the program is compiled.
        match unsafe { program.read(self.calls.cubin_size, self.calls.cubin) } {
            Ok(bytes) => Ok(Cubin { bytes, log }),
            Err(status) => Err(self.failure(name, options, status, &log)),
        }
    }

    fn failure(&self, name: &str, options: &[String], status: Status, log: &str) -> Error {
        let (major, minor) = self.library.version;
        let expected =
            format!("code that NVRTC {major}.{minor} compiles with {}", options.join(" "));
        let complaint = log.lines().find(|line| line.contains("error"));
        // SAFETY: NVRTC answers any number with a string of its own that lives as long as it does.
        let reason = unsafe { CStr::from_ptr((self.calls.error)(status)) };
        let found = match complaint {
            Some(line) => line.to_string(),
            None => reason.to_string_lossy().into_owned(),
        };
        Error::new(Kind::Failure, name, expected, found).because(log.to_string())
    }
}

/// A program of NVRTC, destroyed with this.
struct Handled<'a> {
    calls: &'a Calls,
    program: Program,
}

impl Handled<'_> {
    /// What NVRTC writes after saying how long it is.
    ///
    /// # Safety
    /// `write` fills as many bytes as `size` says, for a program in this state.
    unsafe fn read(
        &self,
        size: unsafe extern "C" fn(Program, *mut usize) -> Status,
        write: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    ) -> std::result::Result<Vec<u8>, Status> {
        let mut bytes = 0;
        // SAFETY: the caller's promise.
        unsafe {
            match size(self.program, &mut bytes) {
                SUCCESS => {}
                failed => return Err(failed),
            }
            let mut buffer = vec![0u8; bytes];
            match write(self.program, buffer.as_mut_ptr().cast()) {
                SUCCESS => Ok(buffer),
                failed => Err(failed),
            }
        }
    }
}

impl Drop for Handled<'_> {
    fn drop(&mut self) {
        if !self.program.is_null() {
            // SAFETY: NVRTC made it, and nothing else holds it.
            unsafe { (self.calls.destroy)(&mut self.program) };
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).collect()
}

fn count<T>(items: &[T]) -> c_int {
    c_int::try_from(items.len()).unwrap_or(c_int::MAX)
}
