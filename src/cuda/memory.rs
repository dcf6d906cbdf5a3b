//! Memory on the card, and the ways to it from the host and back, through pinned pages.

use super::emulator;
use super::gpu::Gpu;
use super::launch::Ptr;
use crate::error::{Error, Kind, Result};
use cudarc::driver::{result, sys};
use std::sync::PoisonError;

/// Bytes on one card, freed when dropped. Allocation is slow and waits for the card: `tensor` keeps
/// freed blocks for the next use.
pub struct DeviceMemory {
    gpu: &'static Gpu,
    start: Ptr,
    bytes: usize,
}

impl DeviceMemory {
    /// `None` where the card has not so much left.
    pub fn new(gpu: &'static Gpu, bytes: usize) -> Result<Option<Self>> {
        gpu.bind()?;
        // SAFETY: `bytes` is not zero, as sizes are rounded up.
        match unsafe { result::malloc_sync(bytes) } {
            Ok(start) => Ok(Some(DeviceMemory { gpu, start: Ptr(start), bytes })),
            Err(e) if e.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Ok(None),
            Err(e) => Err(gpu.fault(format!("{bytes} bytes of memory"), e)),
        }
    }

    pub fn gpu(&self) -> &'static Gpu {
        self.gpu
    }

    pub fn start(&self) -> Ptr {
        self.start
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells the emulator that only the first `bytes` are in use from now on, and not yet written: its
    /// checks then find a step beyond them, or a read of what an earlier user left behind. A card
    /// learns nothing of it.
    pub fn lend(&self, bytes: usize) -> Result<()> {
        self.gpu.bind()?;
        emulator::lend(self.start, bytes, self.gpu.stream())
    }

    /// The memory, leaving none here.
    pub fn take(&mut self) -> Self {
        let empty = DeviceMemory { gpu: self.gpu, start: Ptr::NULL, bytes: 0 };
        std::mem::replace(self, empty)
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // A free that fails has no one to tell: the context is lost, and the next call says so.
        if self.bytes > 0 && self.gpu.bind().is_ok() {
            // SAFETY: the memory came from `malloc_sync` and nobody else frees it. The driver waits
            // for kernels that still use it.
            let _ = unsafe { result::free_sync(self.start.0) };
        }
    }
}

/// Two pinned blocks through which host memory goes to the card: while one travels the other is
/// filled.
pub(super) struct Staging {
    halves: [Half; 2],
    next: usize,
}

struct Half {
    start: *mut u8,
    /// Recorded when the last copy out of this half was asked for.
    free: sys::CUevent,
}

// SAFETY: pinned memory and events belong to the process; the mutex around `Staging` orders its use.
unsafe impl Send for Staging {}

impl Staging {
    const BYTES: usize = 4 << 20;

    fn new() -> std::result::Result<Self, cudarc::driver::DriverError> {
        let half = || {
            // SAFETY: plain pinned memory, kept for the life of the process.
            let start = unsafe { result::malloc_host(Self::BYTES, 0) }?.cast();
            let free = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
            Ok(Half { start, free })
        };
        Ok(Staging { halves: [half()?, half()?], next: 0 })
    }
}

impl Gpu {
    /// Runs `f` with the staging blocks, made when first needed.
    fn staged<R>(
        &self,
        f: impl FnOnce(&mut Staging) -> std::result::Result<R, cudarc::driver::DriverError>,
    ) -> Result<R> {
        self.bind()?;
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let made = match staging.take() {
            Some(staging) => Ok(staging),
            None => Staging::new(),
        };
        made.and_then(|made| f(staging.insert(made)))
            .map_err(|e| self.fault("a copy between host and card", e))
    }

    /// Copies `from` to the card, after all that was asked before. `from` may change at once.
    ///
    /// # Safety
    ///
    /// There are `from.len()` bytes at `to`.
    pub unsafe fn upload(&self, to: Ptr, from: &[u8]) -> Result<()> {
        self.staged(|staging| {
            for (i, chunk) in from.chunks(Staging::BYTES).enumerate() {
                let half = &staging.halves[staging.next];
                staging.next = 1 - staging.next;
                // SAFETY: the event exists; after it the half is no longer read. The chunk fits in
                // the half, and the caller answers for the room at `to`.
                unsafe {
                    result::event::synchronize(half.free)?;
                    let pinned = std::slice::from_raw_parts_mut(half.start, chunk.len());
                    pinned.copy_from_slice(chunk);
                    let to = to.offset(i * Staging::BYTES).0;
                    result::memcpy_htod_async(to, pinned, self.stream())?;
                    result::event::record(half.free, self.stream())?;
                }
            }
            Ok(())
        })
    }

    /// Copies from the card when all that was asked before is done.
    ///
    /// # Safety
    ///
    /// There are `to.len()` bytes at `from`.
    pub unsafe fn download(&self, to: &mut [u8], from: Ptr) -> Result<()> {
        self.staged(|staging| {
            for (i, chunk) in to.chunks_mut(Staging::BYTES).enumerate() {
                let half = &staging.halves[staging.next];
                // SAFETY: the chunk fits in the half, which the stream has finished with when
                // `synchronize` returns; the caller answers for the bytes at `from`.
                unsafe {
                    let pinned = std::slice::from_raw_parts_mut(half.start, chunk.len());
                    let from = from.offset(i * Staging::BYTES).0;
                    result::memcpy_dtoh_async(pinned, from, self.stream())?;
                    result::stream::synchronize(self.stream())?;
                    chunk.copy_from_slice(pinned);
                }
            }
            Ok(())
        })
    }

    /// Copies `bytes` from one place on the card to another.
    ///
    /// # Safety
    ///
    /// There are so many bytes at both places, and they do not overlap.
    pub unsafe fn copy(&self, to: Ptr, from: Ptr, bytes: usize) -> Result<()> {
        self.bind()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller answers for the places.
        unsafe { result::memcpy_dtod_async(to.0, from.0, bytes, self.stream()) }
            .map_err(|e| self.fault("a copy on the card", e))
    }

    /// Fills `count` elements with the lowest `width` bytes (2 or 4) of `pattern`.
    ///
    /// # Safety
    ///
    /// There are so many elements at `to`.
    pub unsafe fn fill(&self, to: Ptr, pattern: u32, width: usize, count: usize) -> Result<()> {
        self.bind()?;
        if count == 0 {
            return Ok(());
        }
        // SAFETY: the caller answers for the room.
        let done = unsafe {
            match width {
                2 => sys::cuMemsetD16Async(to.0, pattern as u16, count, self.stream()),
                _ => sys::cuMemsetD32Async(to.0, pattern, count, self.stream()),
            }
        };
        done.result().map_err(|e| self.fault("memory to be filled", e))
    }

    /// Bytes that the card has left, and all that it has.
    pub fn memory_info(&self) -> Result<(usize, usize)> {
        self.bind()?;
        result::mem_get_info().map_err(|e| self.fault("a count of its memory", e))
    }

    /// The card has not `bytes` more, while `held` are in use here.
    pub fn out_of_memory(&self, bytes: usize, held: usize) -> Error {
        let free =
            self.memory_info().map_or("an unknown number".into(), |(free, _)| free.to_string());
        let thing = format!("memory of cuda:{}", self.ordinal());
        let found = format!("{free} bytes free ({held} are held here)");
        Error::new(Kind::OutOfMemory, thing, format!("{bytes} bytes more"), found)
    }
}
