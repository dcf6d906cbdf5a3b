//! From a file of kernels to a CUBIN for exactly this card, kept on disk for the next run.
//!
//! A CUBIN and not PTX: PTX of a newer toolkit is refused by an older driver. The cache's key is all
//! that the result depends on, so nothing in it ever becomes wrong.

use super::emulator;
use super::kernels::{HEADERS, Module};
use super::nvrtc::Nvrtc;
use crate::error::Result;
use crate::formats::cache_dir;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// Options for every card: no fast mathematics, as it would change results.
const OPTIONS: [&str; 2] = ["--std=c++17", "-default-device"];

/// The compiled kernels of `module` for a card of this capability.
pub(super) fn cubin(nvrtc: &Nvrtc, module: &Module, capability: u32) -> Result<Vec<u8>> {
    let mut options: Vec<String> = OPTIONS.map(String::from).into();
    // A card runs the code of older ones of its generation, where NVRTC does not know it by name.
    let target = nvrtc.target(capability).unwrap_or(capability);
    options.push(format!("--gpu-architecture=sm_{target}"));
    if emulator::checks_accesses() {
        // An option of the emulator's NVRTC alone.
        options.push("--checked".into());
    }
    let mut hasher = DefaultHasher::new();
    let compiler = (&nvrtc.library.path, nvrtc.library.version);
    (module.source, HEADERS, &options, compiler).hash(&mut hasher);
    let file = format!("{}-sm_{target}-{:016x}.cubin", module.name, hasher.finish());
    // A machine without a place for a cache compiles every time.
    let path = cache_dir().map(|folder| folder.join(file));
    if let Some(cached) = path.as_ref().and_then(|path| std::fs::read(path).ok()) {
        return Ok(cached);
    }
    let compiled =
        nvrtc.compile(module.source, &format!("{}.cu", module.name), HEADERS, &options)?;
    if let Some(path) = path {
        keep(&path, &compiled.bytes);
    }
    Ok(compiled.bytes)
}

/// Writes the file whole or not at all: other processes may be reading. A full disk costs only time.
fn keep(path: &Path, bytes: &[u8]) {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&temporary, bytes))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
}
