//! The emulator's checks see what they promise to see: each planted bug is reported, under its own
//! name for it, in every order of threads; kernels that are right run without a word.

use copla::cuda::emulator::{Checks, Order, start};
use copla::cuda::{DeviceMemory, Gpu, HEADERS, gpu};
use cudarc::driver::result::{launch_kernel, module};
use cudarc::driver::sys::{CUfunction, CUmodule};
use std::ffi::{CString, c_void};

const ORDERS: [Order; 3] = [Order::Forward, Order::Reverse, Order::Random(7)];

/// Kernel of kernels/emulator/bugs.cu, blocks, threads, and words of which one is to be said of it. Which of two
/// faults of a race shows depends on the order: an early reader finds what nothing has written.
const BUGS: [(&str, u32, u32, &str); 23] = [
    ("bug_no_barrier", 1, 128, "race|written"),
    ("bug_one_barrier_in_a_loop", 1, 128, "race"),
    ("bug_no_syncwarp", 1, 32, "race|written"),
    ("bug_shuffle_for_syncwarp", 1, 32, "race|written"),
    ("bug_syncwarp_for_barrier", 1, 128, "race|written"),
    ("bug_two_blocks_write", 2, 128, "race"),
    ("bug_block_reads_neighbour", 2, 128, "race"),
    ("bug_sum_without_atomic", 1, 128, "race"),
    ("bug_atomic_and_plain_read", 1, 128, "race"),
    ("bug_two_barriers_in_branches", 1, 128, "barrier"),
    ("bug_barrier_after_exit", 1, 128, "barrier"),
    ("bug_shuffle_in_branch", 1, 128, "lane"),
    ("bug_shuffle_outside_mask", 1, 128, "lane"),
    ("bug_shuffle_after_exit", 1, 32, "lane"),
    ("bug_beyond_global", 1, 128, "out of its bounds"),
    ("bug_beyond_shared_array", 1, 128, "bounds"),
    ("bug_beyond_shared_pointer", 1, 128, "shared"),
    ("bug_beyond_dynamic_shared", 1, 128, "shared"),
    ("bug_unwritten_shared", 1, 128, "written"),
    ("bug_shared_of_the_block_before", 2, 128, "written"),
    ("bug_unwritten_global", 1, 128, "written"),
    ("bug_misaligned_pack", 1, 128, "aligned"),
    ("bug_null", 1, 128, "null|no allocation|bounds"),
];

/// The kernels of bugs.cu, which the product does not know.
fn load(gpu: &Gpu) -> CUmodule {
    let source = include_str!("../kernels/emulator/bugs.cu");
    let options = ["--std=c++17", "--gpu-architecture=sm_90", "--checked"].map(String::from);
    let image = gpu.compiler().unwrap().compile(source, "bugs.cu", HEADERS, &options).unwrap();
    gpu.bind().unwrap();
    // SAFETY: a whole image, as the emulator's NVRTC made it.
    unsafe { module::load_data(image.bytes.as_ptr().cast()) }.unwrap()
}

/// Runs a kernel as bugs.cu says: with `y`, of 256 elements, and 128.
fn run(gpu: &'static Gpu, bugs: CUmodule, kernel: &str, blocks: u32, threads: u32) -> bool {
    let elements = 256;
    let y = DeviceMemory::new(gpu, 4 * elements).unwrap().unwrap();
    if kernel != "bug_unwritten_global" {
        // SAFETY: `y` has so many elements of four bytes.
        unsafe { gpu.fill(y.start(), 0, 4, elements) }.unwrap();
    }
    let (mut y_start, mut n) = (y.start().0, 128u32);
    let mut arguments: [*mut c_void; 2] =
        [(&raw mut y_start).cast::<c_void>(), (&raw mut n).cast::<c_void>()];
    let name = CString::new(kernel).unwrap();
    // SAFETY: none; that is what is tested, on an emulator that stops at the first fault.
    let launched = unsafe {
        let function: CUfunction = module::get_function(bugs, name).unwrap();
        let (grid, block) = ((blocks, 1, 1), (threads, 1, 1));
        launch_kernel(function, grid, block, 512, gpu.stream(), &mut arguments)
    };
    launched.is_ok() && gpu.synchronize().is_ok()
}

#[test]
fn every_planted_bug_is_found_and_nothing_else() {
    let emulator = match start(Checks::On) {
        Ok(emulator) => emulator,
        Err(error) if std::env::var_os("COPLA_REQUIRE_EMULATOR").is_none() => {
            return eprintln!("skipped: {error}");
        }
        Err(error) => panic!("{error}"),
    };
    let gpu = gpu(0).unwrap();
    let bugs = load(gpu);
    for order in ORDERS {
        emulator.set_order(order);
        for (kernel, blocks, threads, words) in BUGS {
            assert!(!run(gpu, bugs, kernel, blocks, threads), "{kernel}, {order:?}: not found");
            let said = emulator.last_error();
            emulator.clear_error();
            assert!(said.contains(kernel) && said.contains("bugs.cu:"), "{kernel}: {said}");
            let named = words.split('|').any(|word| said.contains(word));
            assert!(named, "{kernel}, {order:?}: {said}");
        }
        for (kernel, blocks) in [("ok_sums", 1), ("ok_syncwarp", 1), ("ok_atomic", 2)] {
            assert!(run(gpu, bugs, kernel, blocks, 128), "{kernel}: {}", emulator.last_error());
        }
    }
}
