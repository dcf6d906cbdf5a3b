//! Where a tensor lives.

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

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Device::Meta => f.write_str("meta"),
        }
    }
}
