//! The kernels: their sources, and the compiled functions of one card.

use super::compile;
use super::gpu::Gpu;
use crate::error::{Error, Result};
use cudarc::driver::{result, sys};
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Mutex, PoisonError};

/// One file of `kernels/`.
pub struct Module {
    /// The file's name without `.cu`.
    pub name: &'static str,
    pub source: &'static str,
}

macro_rules! sources {
    ($($name:literal)*) => {
        &[$(Module {
            name: $name,
            source: include_str!(concat!("../../kernels/", $name, ".cu")),
        }),*]
    };
}

/// Every file of kernels. Each is compiled when one of its kernels is first launched.
pub static MODULES: &[Module] = sources! {
    "accumulate"
    "adamw"
    "attention_backward"
    "attention_decode"
    "attention_forward"
    "attention_tc"
    "attention_tc_backward"
    "binary"
    "cast"
    "compare"
    "cross_entropy"
    "dropout"
    "elementwise"
    "embedding"
    "extremum"
    "grad_norm"
    "index"
    "layer_norm"
    "layout"
    "linear"
    "lstm"
    "reduce"
    "sample"
    "softmax"
};

/// What kernels include, by name.
pub static HEADERS: &[(&str, &str)] = &[
    ("attention.cuh", include_str!("../../kernels/attention.cuh")),
    ("attention_tc.cuh", include_str!("../../kernels/attention_tc.cuh")),
    ("common.cuh", include_str!("../../kernels/common.cuh")),
    ("philox.cuh", include_str!("../../kernels/philox.cuh")),
    ("pointwise.cuh", include_str!("../../kernels/pointwise.cuh")),
    ("tc.cuh", include_str!("../../kernels/tc.cuh")),
];

/// The functions of one card that were asked for so far.
#[derive(Default)]
pub(super) struct Kernels {
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    modules: HashMap<&'static str, sys::CUmodule>,
    functions: HashMap<String, sys::CUfunction>,
}

impl Gpu {
    /// The function behind a kernel's name, compiled and loaded when it is first asked for.
    pub(super) fn function(&self, module: &'static str, kernel: &str) -> Result<sys::CUfunction> {
        self.bind()?;
        let mut loaded = self.kernels.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&function) = loaded.functions.get(kernel) {
            return Ok(function);
        }
        let handle = match loaded.modules.get(module) {
            Some(&handle) => handle,
            None => {
                let handle = self.load(module)?;
                loaded.modules.insert(module, handle);
                handle
            }
        };
        let missing = |found: String| {
            Error::shape(format!("kernels/{module}.cu"), format!("a kernel {kernel}"), found)
        };
        let name = CString::new(kernel).map_err(|_| missing("a name with a zero in it".into()))?;
        // SAFETY: the module stays loaded for the life of the process.
        let function = unsafe { result::module::get_function(handle, name) }.map_err(|e| {
            missing(e.error_name().map_or("none", |n| n.to_str().unwrap_or("none")).into())
        })?;
        loaded.functions.insert(kernel.into(), function);
        Ok(function)
    }

    fn load(&self, module: &'static str) -> Result<sys::CUmodule> {
        let Some(module) = MODULES.iter().find(|candidate| candidate.name == module) else {
            return Err(Error::shape(
                "kernels",
                format!("a file {module}.cu"),
                "none of this name",
            ));
        };
        let cubin = compile::cubin(self.compiler()?, module, self.capability())?;
        // SAFETY: the image is a whole CUBIN, as NVRTC made it, and is read before this returns.
        unsafe { result::module::load_data(cubin.as_ptr().cast()) }
            .map_err(|e| self.fault(format!("a module of kernels/{}.cu", module.name), e))
    }
}
