//! Where a tensor lives.

use crate::cuda;
use crate::error::Result;
use std::fmt;

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
    /// Waits until all that was asked of the device is done.
    pub fn synchronize(self) -> Result<()> {
        match self {
            Device::Cuda(ordinal) => cuda::gpu(ordinal)?.synchronize(),
            Device::Cpu | Device::Meta => Ok(()),
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
