//! On which device a command computes, and how numbers are stored there.

use copla::cuda;
use copla::cuda::emulator::{self, Checks};
use copla::{DType, Device, Error, Result};
use std::str::FromStr;

#[derive(clap::Args)]
pub struct Machine {
    /// cpu, cuda, cuda:N, emulated (CUDA on the processor, slow), or auto: a card if there is one
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Choice,
    /// How numbers are stored: f32, f16 or bf16; sums are f32 always
    #[arg(long, value_name = "DTYPE", default_value = "f32", value_parser = float)]
    dtype: DType,
    /// The same as --dtype f16
    #[arg(long, conflicts_with_all = ["dtype", "bf16"])]
    fp16: bool,
    /// The same as --dtype bf16
    #[arg(long, conflicts_with = "dtype")]
    bf16: bool,
    /// Let matrix products of f32 round their factors to TF32, on cards that are faster so
    #[arg(long)]
    tf32: bool,
}

/// What `--device` says.
#[derive(Clone, Copy)]
pub enum Choice {
    Auto,
    Cpu,
    Cuda(usize),
    Emulated,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Choice::Auto),
            "cpu" => Ok(Choice::Cpu),
            "cuda" => Ok(Choice::Cuda(0)),
            "emulated" => Ok(Choice::Emulated),
            _ => match text.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(ordinal)) => Ok(Choice::Cuda(ordinal)),
                _ => Err("expected auto, cpu, cuda, cuda:N or emulated".into()),
            },
        }
    }
}

/// A dtype that stores weights.
pub fn float(text: &str) -> std::result::Result<DType, String> {
    [DType::F32, DType::F16, DType::BF16]
        .into_iter()
        .find(|dtype| dtype.to_string() == text)
        .ok_or("expected f32, f16 or bf16".into())
}

impl Machine {
    pub fn dtype(&self) -> DType {
        match self {
            Machine { fp16: true, .. } => DType::F16,
            Machine { bf16: true, .. } => DType::BF16,
            Machine { dtype, .. } => *dtype,
        }
    }

    /// The device, ready to compute.
    pub fn device(&self) -> Result<Device> {
        cuda::allow_tf32(self.tf32);
        self.device.open()
    }
}

impl Choice {
    /// The device, ready to compute: what CUDA lacks is said here, before any work is done.
    pub fn open(self) -> Result<Device> {
        match self {
            Choice::Cpu => Ok(Device::Cpu),
            Choice::Cuda(ordinal) => ready(ordinal),
            Choice::Emulated => {
                emulator::start(Checks::Off)?;
                ready(0)
            }
            // Without a driver or a card nobody misses CUDA; with one, its silence would be a riddle.
            Choice::Auto if cuda::count().unwrap_or(0) == 0 => Ok(Device::Cpu),
            Choice::Auto => Ok(ready(0).unwrap_or_else(|error: Error| {
                super::note(format_args!("copla: computing on the CPU. {error}"));
                Device::Cpu
            })),
        }
    }
}

fn ready(ordinal: usize) -> Result<Device> {
    cuda::gpu(ordinal)?.check()?;
    Ok(Device::Cuda(ordinal))
}
