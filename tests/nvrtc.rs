//! Every kernel compiles for every card from Pascal to Hopper, and what it costs there.
//!
//! NVRTC needs no card, so this runs wherever one is found. Without one it is skipped, unless
//! COPLA_REQUIRE_NVRTC is set, which asks for one for all cards.

use copla::cuda::library::{Libraries, compilers};
use copla::cuda::nvrtc::Nvrtc;
use copla::cuda::{HEADERS, MODULES, Module};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const CARDS: [u32; 8] = [60, 61, 70, 75, 80, 86, 89, 90];
/// Where a kernel that keeps part of its registers in memory is a fault: the card that copla is for,
/// and the fastest.
const NO_SPILLS: [u32; 2] = [60, 90];

/// What ptxas says of one kernel on one card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    registers: usize,
    /// Bytes stored and loaded because the registers did not suffice.
    spilled: usize,
    /// Bytes of static shared memory.
    shared: usize,
}

#[test]
fn every_kernel_compiles_for_every_card() {
    let required = std::env::var_os("COPLA_REQUIRE_NVRTC").is_some();
    let mut found: Vec<Nvrtc> = compilers(&Libraries::Real).collect();
    found.sort_by_key(|nvrtc| CARDS.iter().filter(|card| !nvrtc.supported.contains(card)).count());
    let Some(nvrtc) = found.first() else {
        assert!(!required, "COPLA_REQUIRE_NVRTC is set, and no NVRTC found");
        return say("skipped: no NVRTC found (pip install nvidia-cuda-nvrtc-cu12)\n");
    };
    let (cards, missing): (Vec<u32>, Vec<u32>) =
        CARDS.iter().partition(|card| nvrtc.supported.contains(card));
    assert!(missing.is_empty() || !required, "NVRTC {} has no {missing:?}", nvrtc.library);
    say(&format!("NVRTC {} for sm_{cards:?}\n", nvrtc.library));

    let costs = compile_all(nvrtc, &cards);
    say(&table(&costs, &cards));
    assert_eq!(costs.len(), MODULES.len(), "a file without kernels");
    let mut owners = BTreeMap::new();
    for (module, kernels) in &costs {
        for (kernel, by_card) in kernels {
            let owner = owners.insert(kernel, module);
            assert_eq!(owner, None, "{kernel} is also in {module}.cu");
            assert_eq!(by_card.len(), cards.len(), "{kernel} is not there for every card");
            for card in NO_SPILLS.iter().filter(|card| cards.contains(card)) {
                assert_eq!(by_card[card].spilled, 0, "{kernel} spills on sm_{card}");
            }
        }
    }
}

/// Module → kernel → card → cost.
type Costs = BTreeMap<&'static str, BTreeMap<String, BTreeMap<u32, Cost>>>;

fn compile_all(nvrtc: &Nvrtc, cards: &[u32]) -> Costs {
    let jobs: Vec<(&Module, u32)> =
        MODULES.iter().flat_map(|module| cards.iter().map(move |&card| (module, card))).collect();
    let next = AtomicUsize::new(0);
    let costs = Mutex::new(Costs::new());
    let work = || {
        while let Some(&(module, card)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let log = compile(nvrtc, module, card);
            let mut costs = costs.lock().unwrap();
            for (kernel, cost) in read_log(&log) {
                let kernels = costs.entry(module.name).or_default();
                kernels.entry(kernel).or_default().insert(card, cost);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    costs.into_inner().unwrap()
}

fn compile(nvrtc: &Nvrtc, module: &Module, card: u32) -> String {
    let options = [
        "--std=c++17".to_string(),
        "-default-device".into(),
        "--ptxas-options=-v".into(),
        format!("--gpu-architecture=sm_{card}"),
    ];
    let name = format!("{}.cu", module.name);
    match nvrtc.compile(module.source, &name, HEADERS, &options) {
        Ok(cubin) => {
            assert!(cubin.bytes.starts_with(b"\x7fELF"), "{name}, sm_{card}: no CUBIN");
            cubin.log
        }
        Err(error) => panic!("{error}\n{}", std::error::Error::source(&error).unwrap()),
    }
}

/// The kernels of one compilation, from what `--ptxas-options=-v` prints:
/// `Compiling entry function 'name' for 'sm_60'`, `0 bytes stack frame, 4 bytes spill stores, 4 bytes
/// spill loads`, `Used 10 registers, 128 bytes smem, 356 bytes cmem[0]`.
fn read_log(log: &str) -> Vec<(String, Cost)> {
    let mut kernels: Vec<(String, Cost)> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            kernels.push((rest.split('\'').next().unwrap().into(), Cost::default()));
        }
        let Some((_, cost)) = kernels.last_mut() else { continue };
        cost.spilled += before(line, " bytes spill stores") + before(line, " bytes spill loads");
        cost.registers += before(line, " registers");
        cost.shared += before(line, " bytes smem");
    }
    kernels
}

/// The number that stands before `what`, 0 if that does not occur.
fn before(line: &str, what: &str) -> usize {
    let Some((front, _)) = line.split_once(what) else { return 0 };
    front.rsplit(' ').next().unwrap().parse().unwrap()
}

fn table(costs: &Costs, cards: &[u32]) -> String {
    let kernels = costs.values().flatten();
    let width = kernels.clone().map(|(kernel, _)| kernel.len()).max().unwrap_or(0);
    let mut text = format!("{:width$}", "registers | spilled | shared bytes");
    cards.iter().for_each(|card| text += &format!(" {:>12}", format!("sm_{card}")));
    for (kernel, by_card) in kernels {
        text += &format!("\n{kernel:width$}");
        for Cost { registers, spilled, shared } in by_card.values() {
            text += &format!(" {:>12}", format!("{registers}|{spilled}|{shared}"));
        }
    }
    text + "\n"
}

/// Past the test harness, which keeps what `println!` writes to itself.
fn say(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

#[test]
fn the_log_of_ptxas_is_understood() {
    let log = "ptxas info    : 8 bytes gmem
ptxas info    : Compiling entry function 'a_f32' for 'sm_60'
ptxas info    : Function properties for a_f32
ptxas         .     16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 16 bytes cumulative stack size, 128 bytes smem, 356 bytes cmem[0]
ptxas info    : Compiling entry function 'b' for 'sm_60'
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 7 registers, 324 bytes cmem[0]";
    let a = Cost { registers: 32, spilled: 20, shared: 128 };
    let b = Cost { registers: 7, spilled: 0, shared: 0 };
    assert_eq!(read_log(log), [("a_f32".to_string(), a), ("b".to_string(), b)]);
}
