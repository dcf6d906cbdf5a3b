//! A launch: one kernel, its grid and its arguments, and the error that names them.

use super::gpu::{Gpu, fault, synchronous};
use crate::error::{Error, Result};
use cudarc::driver::{result, sys};
use std::ffi::c_void;
use std::panic::Location;

/// An address on the card. Also what C sees where a kernel takes a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ptr(pub u64);

impl Ptr {
    pub const NULL: Ptr = Ptr(0);

    /// The address `bytes` further on.
    pub fn offset(self, bytes: usize) -> Self {
        Ptr(self.0 + bytes as u64)
    }
}

/// What a kernel can be given.
pub trait Argument {
    /// The value in the low bytes of a word. An error where it has none on this card.
    fn word(&self) -> Result<u64>;
}

macro_rules! arguments {
    ($($Type:ty, |$x:ident| $word:expr;)*) => {
        $(impl Argument for $Type {
            fn word(&self) -> Result<u64> {
                let $x = *self;
                Ok($word)
            }
        })*
    };
}

arguments! {
    u32, |x| u64::from(x);
    i32, |x| u64::from(x as u32);
    u64, |x| x;
    f32, |x| u64::from(x.to_bits());
    Ptr, |x| x.0;
}

impl<T: Argument> Argument for &T {
    fn word(&self) -> Result<u64> {
        (*self).word()
    }
}

/// Null where there is none.
impl<T: Argument> Argument for Option<T> {
    fn word(&self) -> Result<u64> {
        self.as_ref().map_or(Ok(0), Argument::word)
    }
}

/// A kernel about to run. What is wrong with an argument is said by [`Launch::run`].
#[must_use = "nothing happens before `run`"]
pub struct Launch<'a> {
    gpu: &'a Gpu,
    module: &'static str,
    kernel: String,
    grid: [usize; 3],
    block: usize,
    shared: usize,
    /// Arguments in words, and the word at which each begins.
    words: Vec<u64>,
    starts: Vec<usize>,
    wrong: Option<Error>,
}

impl Gpu {
    /// Kernel `kernel` of `kernels/<module>.cu`, one block of one thread unless told otherwise.
    pub fn kernel(&self, module: &'static str, kernel: impl Into<String>) -> Launch<'_> {
        let (words, starts) = (Vec::with_capacity(16), Vec::with_capacity(16));
        let (grid, block, kernel) = ([1; 3], 1, kernel.into());
        Launch { gpu: self, module, kernel, grid, block, shared: 0, words, starts, wrong: None }
    }
}

impl Launch<'_> {
    /// Blocks along each axis. A grid without blocks runs nothing.
    pub fn grid(mut self, x: usize, y: usize, z: usize) -> Self {
        self.grid = [x, y, z];
        self
    }

    /// Threads of a block.
    pub fn block(mut self, threads: usize) -> Self {
        self.block = threads;
        self
    }

    /// Bytes of dynamic shared memory of a block.
    pub fn shared(mut self, bytes: usize) -> Self {
        self.shared = bytes;
        self
    }

    /// The next argument.
    pub fn arg(mut self, value: impl Argument) -> Self {
        self.starts.push(self.words.len());
        match value.word() {
            Ok(word) => self.words.push(word),
            Err(error) => self.wrong = self.wrong.or(Some(error)),
        }
        self
    }

    /// The next argument, a struct that the kernel takes by value (`#[repr(C)]` here and there).
    pub fn arg_bytes<T: bytemuck::NoUninit>(mut self, value: &T) -> Self {
        self.starts.push(self.words.len());
        for chunk in bytemuck::bytes_of(value).chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.words.push(u64::from_le_bytes(word));
        }
        self
    }

    /// Asks the card to run it, after all that was asked before.
    ///
    /// # Safety
    ///
    /// The arguments are those of the kernel's own list, and for every thread of the grid the kernel
    /// stays within the memory that they name.
    #[track_caller]
    pub unsafe fn run(mut self) -> Result<()> {
        if let Some(error) = self.wrong {
            return Err(error);
        }
        if self.grid.contains(&0) {
            return Ok(());
        }
        let caller = Location::caller();
        let [Ok(x), Ok(y), Ok(z)] = self.grid.map(u32::try_from) else {
            return Err(self.refused("a grid of at most 2^32 blocks", "more", caller));
        };
        let function = self.gpu.function(self.module, &self.kernel)?;
        if self.shared > 48 << 10 {
            use sys::CUfunction_attribute_enum as Attribute;
            let which = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of a module that stays loaded.
            unsafe {
                result::function::set_function_attribute(function, which, self.shared as i32)
            }
            .map_err(|e| self.failed(e, caller))?;
        }
        let words = self.words.as_mut_ptr();
        // SAFETY: every start is below the number of words, as a word was pushed after it.
        let at = |&start: &usize| unsafe { words.add(start) }.cast::<c_void>();
        let mut params: Vec<*mut c_void> = self.starts.iter().map(at).collect();
        let (grid, block) = ((x, y, z), (self.block as u32, 1, 1));
        let (shared, stream) = (self.shared as u32, self.gpu.stream());
        // SAFETY: the caller answers for the arguments; each pointer leads to a whole argument, and
        // the driver copies them before it returns.
        unsafe { result::launch_kernel(function, grid, block, shared, stream, &mut params) }
            .map_err(|e| self.failed(e, caller))?;
        if synchronous() {
            // SAFETY: the stream lives as long as the process.
            unsafe { result::stream::synchronize(stream) }.map_err(|e| self.failed(e, caller))?;
        }
        Ok(())
    }

    fn describe(&self, caller: &Location) -> String {
        let ([x, y, z], block, shared) = (self.grid, self.block, self.shared);
        let at = format!("{}:{}", caller.file(), caller.line());
        format!("kernel {} <<<{x}x{y}x{z}, {block}, {shared}>>> at {at}", self.kernel)
    }

    fn failed(&self, error: cudarc::driver::DriverError, caller: &Location) -> Error {
        fault(self.describe(caller), "a launch", error)
    }

    fn refused(&self, expected: &str, found: &str, caller: &Location) -> Error {
        Error::shape(self.describe(caller), expected, found)
    }
}
