//! What of this machine copla can use, what is missing and what to install for it; and whether a
//! device computes rightly ([`check`]).

pub mod cases;
pub mod check;
mod computation;

use crate::cpu::simd;
use crate::cuda::{self, Gpu, library};
use crate::dtype::DType;
use crate::error::Result;
use serde::Serialize;
use std::fmt;
use std::process::Command;

/// Something that is there, with its version and place; or what to do about its absence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    Found(String),
    Missing(String),
}

impl Finding {
    fn of<T: fmt::Display>(result: Result<T>) -> Self {
        match result {
            Ok(found) => Finding::Found(found.to_string()),
            Err(error) => Finding::Missing(error.to_string()),
        }
    }

    fn is_found(&self) -> bool {
        matches!(self, Finding::Found(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Found(what) => f.write_str(what),
            Finding::Missing(why) => write!(f, "missing. {why}"),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Threads and vector instructions.
    pub processor: String,
    pub driver: Finding,
    pub cards: Vec<Card>,
    /// Every NVRTC of the machine, where there is no card to choose one.
    pub compilers: Vec<String>,
    /// What `--device emulated` is built with.
    pub emulator: Finding,
}

/// A card, and what was found to compute on it.
#[derive(Clone, Debug, Serialize)]
pub struct Card {
    /// As `--device` takes it: `cuda:0`.
    pub device: String,
    pub name: String,
    /// 10·major + minor.
    pub capability: u32,
    pub multiprocessors: usize,
    /// In bytes.
    pub memory: usize,
    pub free: Option<usize>,
    pub compiler: Finding,
    pub blas: Finding,
    /// Which of several ways of computing this card takes.
    pub variants: Vec<String>,
}

impl Card {
    fn usable(&self) -> bool {
        self.compiler.is_found() && self.blas.is_found()
    }
}

/// Looks for everything. Nothing that is missing is an error here.
pub fn examine() -> Report {
    let driver = cuda::driver();
    let cards: Vec<Card> = (0..cuda::count().unwrap_or(0)).filter_map(|i| card(i).ok()).collect();
    let compilers = match cards.is_empty() {
        true => library::compilers(&library::Libraries::Real)
            .map(|nvrtc| nvrtc.library.to_string())
            .collect(),
        false => Vec::new(),
    };
    // A driver that opens may still refuse to start, for want of a card or of its kernel's half.
    let started = cuda::count().and(driver);
    let branch = kernel_driver().map_or(String::new(), |branch| format!(", branch {branch}"));
    Report {
        processor: format!("{} threads, {:?}", rayon::current_num_threads(), simd::level()),
        driver: Finding::of(started.map(|driver| format!("CUDA {}{branch}", driver.library))),
        cards,
        compilers,
        emulator: compiler_of_the_emulator(),
    }
}

fn card(ordinal: usize) -> Result<Card> {
    let gpu = cuda::gpu(ordinal)?;
    let capability = gpu.capability();
    let compiler = gpu.compiler().map(|nvrtc| &nvrtc.library);
    // Also where the compiler is missing, so that all that is to be installed is said at once.
    let like = compiler.as_ref().map_or(u32::MAX, |compiler| compiler.version.0);
    let blas = cuda::driver()?.blas(capability, like);
    Ok(Card {
        device: format!("cuda:{ordinal}"),
        name: gpu.name().into(),
        capability,
        multiprocessors: gpu.sms(),
        memory: gpu.total_memory(),
        free: gpu.memory_info().ok().map(|(free, _)| free),
        compiler: Finding::of(compiler),
        blas: Finding::of(blas),
        variants: variants(gpu),
    })
}

/// The branch of the driver's half in the kernel, which `nvidia-smi` calls the driver version.
fn kernel_driver() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let version =
        |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    text.lines().next()?.split_whitespace().find(version).map(str::to_string)
}

fn compiler_of_the_emulator() -> Finding {
    let run = Command::new("g++").arg("-dumpfullversion").output();
    match run.ok().filter(|run| run.status.success()) {
        Some(run) => Finding::Found(format!("g++ {}", String::from_utf8_lossy(&run.stdout).trim())),
        None => Finding::Missing("For --device emulated install g++ 12 or newer".into()),
    }
}

fn variants(gpu: &Gpu) -> Vec<String> {
    let capability = gpu.capability();
    let mut variants = vec![match gpu.multiplies(DType::BF16, DType::BF16, DType::BF16) {
        true => "products: f32, f16 and bf16 by cuBLAS".to_string(),
        false => {
            "products: f32 and f16 by cuBLAS, which has none in bf16 for this card: those by f32"
                .into()
        }
    }];
    if capability >= 80 {
        let gelu = if capability >= 90 { " and GELU" } else { "" };
        variants.push(format!("linear: in 16 bits cublasLt adds the bias{gelu} before it stores"));
        variants.push("attention: f16 and bf16 heads of 64 and 128 by tensor cores".into());
    } else {
        variants.push("attention: without tensor cores, which ours asks of sm_80 and newer".into());
    }
    if capability < library::OLDEST_OF_CUDA_13 {
        variants.push(format!(
            "sm_{capability} needs libraries of CUDA 12.x, as 13 has dropped it, and a driver of branch 580 at most"
        ));
    }
    variants
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = |bytes: usize| bytes as f64 / (1u64 << 30) as f64;
        writeln!(f, "processor  {}", self.processor)?;
        writeln!(f, "driver     {}", self.driver)?;
        for card in &self.cards {
            let Card { device, name, capability, multiprocessors, memory, free, .. } = card;
            write!(f, "{device:10} {name}, sm_{capability}, {multiprocessors} multiprocessors, ")?;
            let free = free.map_or(String::new(), |free| format!(" ({:.1} free)", gib(free)));
            writeln!(f, "{:.1} GiB{free}", gib(*memory))?;
            writeln!(f, "  NVRTC    {}", card.compiler)?;
            writeln!(f, "  cuBLAS   {}", card.blas)?;
            card.variants.iter().try_for_each(|variant| writeln!(f, "  {variant}"))?;
        }
        self.compilers.iter().try_for_each(|nvrtc| writeln!(f, "NVRTC      {nvrtc}"))?;
        writeln!(f, "emulator   {}", self.emulator)?;
        match self.cards.iter().find(|card| card.usable()) {
            Some(card) => writeln!(f, "copla computes on {} unless told otherwise.", card.device),
            None => writeln!(f, "copla computes on the CPU: it has no card that it can use."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p100() -> Card {
        Card {
            device: "cuda:0".into(),
            name: "Tesla P100-PCIE-16GB".into(),
            capability: 60,
            multiprocessors: 56,
            memory: 16 << 30,
            free: Some(15 << 30),
            compiler: Finding::Found("12.9 (/lib/libnvrtc.so.12)".into()),
            blas: Finding::Missing("cuBLAS: expected one, found none".into()),
            variants: vec![],
        }
    }

    fn report(cards: Vec<Card>) -> Report {
        Report {
            processor: "2 threads, Avx2".into(),
            driver: Finding::Missing("CUDA: expected a driver, found none".into()),
            cards,
            compilers: vec!["12.9 (/x)".into()],
            emulator: Finding::Found("g++ 12.2.0".into()),
        }
    }

    #[test]
    fn the_last_line_says_where_copla_computes() {
        let last = |report: Report| report.to_string().lines().last().unwrap().to_string();
        assert!(last(report(vec![])).starts_with("copla computes on the CPU"));
        assert!(last(report(vec![p100()])).starts_with("copla computes on the CPU"));
        let whole = Card { blas: Finding::Found("12.9".into()), ..p100() };
        assert!(last(report(vec![p100(), whole])).starts_with("copla computes on cuda:0 "));
    }

    #[test]
    fn what_is_missing_stands_in_its_line() {
        let text = report(vec![p100()]).to_string();
        assert!(
            text.contains("\n  cuBLAS   missing. cuBLAS: expected one, found none\n"),
            "{text}"
        );
        assert!(text.contains("sm_60, 56 multiprocessors, 16.0 GiB (15.0 free)\n"), "{text}");
        assert!(text.contains("\nNVRTC      12.9 (/x)\n"), "{text}");
    }
}
