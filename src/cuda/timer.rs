//! How long the card itself takes: two events in its stream, with the work between them.

use super::gpu::{Gpu, fault};
use crate::error::{Error, Kind, Result};
use cudarc::driver::{result, sys};
use std::time::Duration;

type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;

/// An event that goes when its owner does.
struct Event(sys::CUevent);

impl Event {
    fn record(gpu: &Gpu) -> Result<Self> {
        let failed = |e| gpu.fault("an event", e);
        let event =
            Event(result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(failed)?);
        // SAFETY: the event was just made, and the stream lives as long as the process.
        unsafe { result::event::record(event.0, gpu.stream()) }.map_err(failed)?;
        Ok(event)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is destroyed once. That it fails matters to nobody.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}

impl Gpu {
    /// What `work` asks of the card takes this long there, waiting for the host included.
    pub fn timed(&self, work: impl FnOnce() -> Result<()>) -> Result<Duration> {
        self.bind()?;
        let start = Event::record(self)?;
        work()?;
        let end = Event::record(self)?;
        self.synchronize()?;
        let mut milliseconds = 0.0;
        // SAFETY: both events are recorded and, after `synchronize`, done.
        let status = unsafe { elapsed()?(&mut milliseconds, start.0, end.0) };
        status.result().map_err(|e| fault("cuEventElapsedTime", "a time", e))?;
        Ok(Duration::from_secs_f32(milliseconds / 1e3))
    }
}

/// Drivers before CUDA 12.8 know the function only by its first name.
fn elapsed() -> Result<Elapsed> {
    // SAFETY: the driver is open, as a card is; cuda.h gives both names this type.
    unsafe {
        let driver = sys::culib();
        driver
            .get::<Elapsed>(b"cuEventElapsedTime_v2")
            .or_else(|_| driver.get::<Elapsed>(b"cuEventElapsedTime"))
            .map(|symbol| *symbol)
            .map_err(|e| {
                Error::new(Kind::Failure, "cuda driver", "cuEventElapsedTime", e.to_string())
            })
    }
}
