//! Where a tensor lives.

use crate::cuda;
use crate::error::Result;
use std::fmt;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    Cpu,
    /// The card of this number, as the driver counts them; or the emulator, see
    /// [`cuda::emulate`](crate::cuda::emulate).
    Cuda(usize),
    /// Shapes without bytes: the same allocator, forward, backward and optimiser, for planning.
    Meta,
}

impl Device {
    /// How long `work` takes: on a card between two events in its stream, elsewhere by the clock.
    pub fn timed(self, work: impl FnOnce() -> Result<()>) -> Result<Duration> {
        match self {
            Device::Cuda(ordinal) => cuda::gpu(ordinal)?.timed(work),
            Device::Cpu | Device::Meta => {
                let start = Instant::now();
                work()?;
                Ok(start.elapsed())
            }
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Device::Meta => f.write_str("meta"),
        }
    }
}
