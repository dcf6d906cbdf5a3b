//! The allocator: blocks that are counted, aligned, always initialised, and kept for the next use.
//!
//! A training step asks for the same sizes again and again. Handing memory back to the system and
//! asking anew costs a page fault per 4 KiB, more than many operations, so freed blocks wait here.
//! What waits is bounded: live and waiting bytes together never exceed the peak of the live ones.

use crate::cuda::{DeviceMemory, gpu};
use crate::error::{Error, Kind, Result};
use crate::tensor::Device;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Every block begins at a multiple of this many bytes, on every device.
pub const ALIGNMENT: usize = 256;

/// What the allocator of one device counts, in bytes, rounding and scratch included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Held by live buffers now.
    pub current: usize,
    /// The most that live buffers held since the start or [`reset_peak`].
    pub peak: usize,
}

impl MemoryStats {
    const ZERO: MemoryStats = MemoryStats { current: 0, peak: 0 };

    fn grow(&mut self, bytes: usize) {
        self.current += bytes;
        self.peak = self.peak.max(self.current);
    }
}

/// The blocks of one device. On a card a block that is freed may still be read by kernels that wait
/// in its stream; whoever gets it next stands behind them in the same stream.
struct Pool<B> {
    stats: MemoryStats,
    /// Freed blocks by size, and their bytes together.
    waiting: BTreeMap<usize, Vec<B>>,
    waiting_bytes: usize,
}

static CPU: Mutex<Pool<Block>> = Mutex::new(Pool::EMPTY);
static CUDA: Mutex<BTreeMap<usize, Pool<DeviceMemory>>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// What has no bytes is counted thread by thread: a plan is made on one, and others beside it.
    static META: Cell<MemoryStats> = const { Cell::new(MemoryStats::ZERO) };
}

/// Every change under these locks is a few integer updates, so a poisoned lock is still sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of the process; for the meta device, of this thread.
pub fn memory_stats(device: Device) -> MemoryStats {
    match device {
        Device::Cpu => lock(&CPU).stats,
        Device::Cuda(n) => lock(&CUDA).get(&n).map_or(MemoryStats::ZERO, |pool| pool.stats),
        Device::Meta => META.get(),
    }
}

/// Makes the present use the peak, so that what follows can be measured by itself.
pub fn reset_peak(device: Device) {
    match device {
        Device::Cpu => lock(&CPU).reset_peak(),
        Device::Cuda(n) => lock(&CUDA).entry(n).or_insert(Pool::EMPTY).reset_peak(),
        Device::Meta => {
            let current = META.get().current;
            META.set(MemoryStats { current, peak: current });
        }
    }
}

/// Counted bytes of one device; gives them back when dropped.
pub(super) enum Allocation {
    Cpu(Block),
    Cuda(DeviceMemory),
    Meta(usize),
}

impl Allocation {
    /// `bytes` on `device`. A block holds old values when reused; on the CPU zeros when fresh.
    pub(super) fn new(device: Device, bytes: usize) -> Result<Self> {
        let rounded = rounded(bytes)?;
        match device {
            Device::Cpu => {
                let fresh = |bytes| Ok(Block::new(bytes));
                Ok(Allocation::Cpu(lock(&CPU).take(rounded, fresh, out_of_memory)?))
            }
            Device::Cuda(n) => {
                let gpu = gpu(n)?;
                let mut pools = lock(&CUDA);
                let pool = pools.entry(n).or_insert(Pool::EMPTY);
                let fresh = |bytes| DeviceMemory::new(gpu, bytes);
                let refused = |bytes, in_use| gpu.out_of_memory(bytes, in_use);
                let memory = pool.take(rounded, fresh, refused)?;
                memory.lend(bytes)?;
                Ok(Allocation::Cuda(memory))
            }
            Device::Meta => {
                let mut stats = META.get();
                stats.grow(rounded);
                META.set(stats);
                Ok(Allocation::Meta(rounded))
            }
        }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        match self {
            Allocation::Cpu(block) => lock(&CPU).put(block.take()),
            Allocation::Cuda(memory) => {
                if let Some(pool) = lock(&CUDA).get_mut(&memory.gpu().ordinal()) {
                    pool.put(memory.take());
                }
            }
            // A thread that ends, or another one's tensor: nobody asks any more.
            Allocation::Meta(bytes) => drop(META.try_with(|stats| {
                let MemoryStats { current, peak } = stats.get();
                stats.set(MemoryStats { current: current.saturating_sub(*bytes), peak });
            })),
        }
    }
}

/// Sizes in steps of an eighth of a power of two (and of [`ALIGNMENT`]), so that requests which
/// differ a little, as the rows of one batch and the next, share their blocks.
fn rounded(bytes: usize) -> Result<usize> {
    let step = (bytes.max(1).ilog2().saturating_sub(3)).max(ALIGNMENT.ilog2());
    bytes
        .max(1)
        .checked_next_multiple_of(1 << step)
        .filter(|&bytes| bytes <= isize::MAX as usize)
        .ok_or_else(|| out_of_memory(bytes, memory_stats(Device::Cpu).current))
}

fn out_of_memory(bytes: usize, in_use: usize) -> Error {
    let found = format!("the system refuses them ({in_use} bytes are in use)");
    Error::new(Kind::OutOfMemory, "cpu memory", format!("{bytes} bytes more"), found)
}

/// What a pool keeps.
trait Counted {
    fn bytes(&self) -> usize;
}

impl Counted for Block {
    fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Counted for DeviceMemory {
    fn bytes(&self) -> usize {
        self.bytes()
    }
}

impl<B: Counted> Pool<B> {
    const EMPTY: Self =
        Pool { stats: MemoryStats::ZERO, waiting: BTreeMap::new(), waiting_bytes: 0 };

    fn reset_peak(&mut self) {
        self.stats.peak = self.stats.current;
        self.trim(0);
    }

    /// A block of at least `bytes`, from those that wait or from `fresh`, which gives `None` where
    /// there is no more; `refused` makes the error of that from the bytes asked for and in use.
    fn take(
        &mut self,
        bytes: usize,
        fresh: impl Fn(usize) -> Result<Option<B>>,
        refused: impl FnOnce(usize, usize) -> Error,
    ) -> Result<B> {
        // A block up to an eighth too large serves as well.
        let fit = self.waiting.range_mut(bytes..=bytes + bytes / 8).next();
        let block = match fit.and_then(|(&size, blocks)| Some((size, blocks.pop()?))) {
            Some((size, block)) => {
                self.waiting_bytes -= size;
                if self.waiting.get(&size).is_some_and(Vec::is_empty) {
                    self.waiting.remove(&size);
                }
                block
            }
            None => {
                self.trim(self.stats.peak.saturating_sub(self.stats.current + bytes));
                match fresh(bytes)? {
                    Some(block) => block,
                    None => {
                        // What waits may be just what is missing.
                        self.trim(0);
                        fresh(bytes)?.ok_or_else(|| refused(bytes, self.stats.current))?
                    }
                }
            }
        };
        self.stats.grow(block.bytes());
        Ok(block)
    }

    fn put(&mut self, block: B) {
        let bytes = block.bytes();
        self.stats.current -= bytes;
        self.waiting_bytes += bytes;
        self.waiting.entry(bytes).or_default().push(block);
        self.trim(self.stats.peak - self.stats.current);
    }

    /// Frees waiting blocks, the largest first, until at most `limit` bytes wait.
    fn trim(&mut self, limit: usize) {
        while self.waiting_bytes > limit {
            let Some(mut entry) = self.waiting.last_entry() else { return };
            match entry.get_mut().pop() {
                Some(block) => self.waiting_bytes -= block.bytes(),
                None => drop(entry.remove()),
            }
        }
    }
}

/// Bytes from the system: aligned to [`ALIGNMENT`], zero when new, freed when dropped.
pub(super) struct Block {
    /// Where the system's bytes begin, [`ALIGNMENT`] more than are used.
    all: NonNull<u8>,
    start: NonNull<u8>,
    bytes: usize,
    /// Nobody has had them to write.
    is_new: bool,
}

// SAFETY: a block owns its memory alone, as a Vec<u8> does; sharing it gives only `&[u8]`.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn new(bytes: usize) -> Option<Self> {
        // SAFETY: the layout is not empty.
        // Zeroed, because reading memory that was never written is undefined; for large blocks the
        // system's pages are zero already and this costs nothing. That holds for the system's own
        // alignment only: for a larger one the standard library would write the zeros.
        let all = NonNull::new(unsafe { alloc_zeroed(Self::layout(bytes)?) })?;
        let start = all.map_addr(|at| at.saturating_add(ALIGNMENT - at.get() % ALIGNMENT));
        Some(Block { all, start, bytes, is_new: true })
    }

    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes.checked_add(ALIGNMENT)?, 1).ok()
    }

    /// The block, leaving none here.
    fn take(&mut self) -> Self {
        let nowhere = NonNull::dangling();
        std::mem::replace(self, Block { all: nowhere, start: nowhere, bytes: 0, is_new: false })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `start` points to `bytes` initialised bytes that `self` owns.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// Makes the first `len` bytes zero. Those of a new block are, and writing them would only make the
    /// system find pages for them.
    pub(super) fn zero(&mut self, len: usize) {
        if !self.is_new {
            self.bytes_mut()[..len].fill(0);
        }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.is_new = false;
        // SAFETY: as in `bytes`, and `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.bytes > 0
            && let Some(layout) = Self::layout(self.bytes)
        {
            // SAFETY: `all` came from `alloc_zeroed` with exactly this layout.
            unsafe { dealloc(self.all.as_ptr(), layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_eighths_of_a_power_of_two() {
        assert_eq!(rounded(0).unwrap(), ALIGNMENT);
        assert_eq!(rounded(257).unwrap(), 512);
        assert_eq!(rounded((1 << 20) + 1).unwrap(), (1 << 20) + (1 << 17));
        assert_eq!(rounded(usize::MAX).unwrap_err().kind(), Kind::OutOfMemory);
    }

    #[test]
    fn what_waits_stays_below_the_peak() {
        let mut pool = Pool::EMPTY;
        let take = |pool: &mut Pool<Block>, bytes| {
            pool.take(bytes, |bytes| Ok(Block::new(bytes)), out_of_memory).unwrap()
        };
        let large = take(&mut pool, 1 << 20);
        pool.put(large);
        assert_eq!((pool.stats.current, pool.waiting_bytes), (0, 1 << 20));
        // A request that fits no waiting block makes room before it grows past the peak.
        let small = take(&mut pool, 1 << 12);
        assert_eq!((pool.stats.current, pool.waiting_bytes), (1 << 12, 0));
        assert_eq!(pool.stats.peak, 1 << 20);
        pool.put(small);
    }
}
