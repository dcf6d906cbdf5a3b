//! One card: its context, its one stream, and what it can do.

use super::blas::Blas;
use super::kernels::Kernels;
use super::library::{self, Driver, Libraries};
use super::memory::Staging;
use super::nvrtc::Nvrtc;
use crate::error::{Error, Kind, Result};
use cudarc::driver::{DriverError, result, sys};
use std::cell::Cell;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Whether every launch waits for its kernel, so that a fault names the kernel that made it.
static SYNCHRONOUS: OnceLock<bool> = OnceLock::new();

pub struct Gpu {
    ordinal: usize,
    context: sys::CUcontext,
    stream: sys::CUstream,
    name: String,
    capability: u32,
    sms: usize,
    max_shared: usize,
    total_memory: usize,
    compiler: Mutex<Option<&'static Nvrtc>>,
    pub(super) kernels: Kernels,
    pub(super) blas: Blas,
    pub(super) staging: Mutex<Option<Staging>>,
}

// SAFETY: contexts, streams and modules may be used from any thread that made the context current,
// which `bind` does before every call; what has state of ours is behind a mutex.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}

thread_local! {
    /// The card whose context is current on this thread.
    static BOUND: Cell<Option<usize>> = const { Cell::new(None) };
}

static LIBRARIES: OnceLock<Libraries> = OnceLock::new();

/// Decides which CUDA this process uses; those installed here unless it is called before the first
/// use. A process has one CUDA: another choice later is an error.
pub fn use_libraries(libraries: Libraries) -> Result<()> {
    let chosen = LIBRARIES.get_or_init(|| libraries.clone());
    if *chosen == libraries {
        return Ok(());
    }
    let expected = format!("{chosen}, which this process has chosen");
    Err(Error::usage("CUDA libraries", expected, libraries.to_string()))
}

/// The driver, opened when first asked for.
pub fn driver() -> Result<&'static Driver> {
    library::open(LIBRARIES.get_or_init(|| Libraries::Real))
}

/// How many cards there are; an error says what of CUDA is missing.
pub fn count() -> Result<usize> {
    driver()?;
    result::init().map_err(|e| fault("cuda driver", "a driver that starts", e))?;
    let count =
        result::device::get_count().map_err(|e| fault("cuda driver", "a count of its cards", e))?;
    Ok(count as usize)
}

/// The card `ordinal`, opened when it is first asked for and kept for the life of the process.
pub fn gpu(ordinal: usize) -> Result<&'static Gpu> {
    static OPEN: Mutex<Vec<&'static Gpu>> = Mutex::new(Vec::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gpu) = open.iter().find(|gpu| gpu.ordinal == ordinal) {
        return Ok(gpu);
    }
    let gpu: &'static Gpu = Box::leak(Box::new(Gpu::open(ordinal)?));
    open.push(gpu);
    Ok(gpu)
}

impl Gpu {
    fn open(ordinal: usize) -> Result<Self> {
        let count = count()?;
        if ordinal >= count {
            let expected = format!("a number below {count}, the cards that the driver sees");
            return Err(Error::usage(format!("cuda:{ordinal}"), expected, ordinal.to_string()));
        }
        let failed = |e| fault(format!("cuda:{ordinal}"), "a card that opens", e);
        let device = result::device::get(ordinal as i32).map_err(failed)?;
        // SAFETY: `device` is one that the driver has just given; the context stays retained, as the
        // card stays open until the process ends.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed)?;
        // SAFETY: the context was just retained.
        unsafe { result::ctx::set_current(context) }.map_err(failed)?;
        let stream =
            result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed)?;
        let attribute = |which| {
            // SAFETY: `device` is one that the driver has given.
            unsafe { result::device::get_attribute(device, which) }.map_err(failed)
        };
        use sys::CUdevice_attribute_enum as Attribute;
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let sms = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let max_shared =
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        Ok(Gpu {
            ordinal,
            context,
            stream,
            name: result::device::get_name(device).map_err(failed)?,
            capability: (10 * major + minor) as u32,
            sms: sms as usize,
            // Cards before Volta have no opt-in and say 0.
            max_shared: (max_shared as usize).max(48 << 10),
            // SAFETY: `device` is one that the driver has given.
            total_memory: unsafe { result::device::total_mem(device) }.map_err(failed)?,
            compiler: Mutex::new(None),
            kernels: Kernels::default(),
            blas: Blas::default(),
            staging: Mutex::new(None),
        })
    }

    /// The card's number, as in `Device::Cuda`.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// What the card calls itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// 10·major + minor: 60 is a P100, 75 a T4, 90 an H100.
    pub fn capability(&self) -> u32 {
        self.capability
    }

    /// The number of multiprocessors.
    pub fn sms(&self) -> usize {
        self.sms
    }

    /// Blocks of `threads` for a loop over `n` elements with the stride of the whole grid: enough to
    /// fill the card several times over, and no more.
    pub fn blocks(&self, n: usize, threads: usize) -> usize {
        n.div_ceil(threads).min(32 * self.sms)
    }

    /// Bytes of shared memory that one block may have, where it asks for them.
    pub fn max_shared(&self) -> usize {
        self.max_shared
    }

    /// Bytes on the card.
    pub fn total_memory(&self) -> usize {
        self.total_memory
    }

    /// The stream of everything that this card is asked to do.
    pub fn stream(&self) -> sys::CUstream {
        self.stream
    }

    /// Makes the card's context current on this thread, as every CUDA call needs it.
    pub fn bind(&self) -> Result<()> {
        if BOUND.get() == Some(self.ordinal) {
            return Ok(());
        }
        // SAFETY: the context is retained for the life of the process.
        unsafe { result::ctx::set_current(self.context) }
            .map_err(|e| self.fault("a context on this thread", e))?;
        BOUND.set(Some(self.ordinal));
        Ok(())
    }

    /// The compiler of kernels for this card, opened when first asked for.
    pub fn compiler(&self) -> Result<&'static Nvrtc> {
        let mut compiler = self.compiler.lock().unwrap_or_else(PoisonError::into_inner);
        match *compiler {
            Some(nvrtc) => Ok(nvrtc),
            None => {
                let nvrtc = Box::leak(Box::new(driver()?.compiler(self.capability)?));
                Ok(compiler.insert(nvrtc))
            }
        }
    }

    /// Whether everything is there that computing on this card needs.
    pub fn check(&'static self) -> Result<()> {
        self.compiler()?;
        self.blas().map(|_| ())
    }

    /// Waits until all that was asked of the card is done.
    pub fn synchronize(&self) -> Result<()> {
        self.bind()?;
        // SAFETY: the stream lives as long as the process.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|e| {
            let hint =
                if synchronous() { "" } else { " (COPLA_CUDA_SYNC=1 tells by which kernel)" };
            self.fault(format!("kernels that run to their end{hint}"), e)
        })
    }

    /// An error of this card.
    pub(super) fn fault(&self, expected: impl Into<String>, error: DriverError) -> Error {
        fault(format!("cuda:{} ({})", self.ordinal, self.name), expected, error)
    }
}

pub(super) fn synchronous() -> bool {
    *SYNCHRONOUS.get_or_init(|| std::env::var_os("COPLA_CUDA_SYNC").is_some_and(|v| v == "1"))
}

/// What the driver said, as an error of ours.
pub(super) fn fault(
    thing: impl Into<String>,
    expected: impl Into<String>,
    error: DriverError,
) -> Error {
    let kind = match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Kind::OutOfMemory,
        _ => Kind::Failure,
    };
    let name = error.error_name().map_or("an unknown error".into(), |name| name.to_string_lossy());
    let text = error.error_string().map_or("".into(), |text| text.to_string_lossy());
    Error::new(kind, thing, expected, format!("{name}: {text}"))
}
