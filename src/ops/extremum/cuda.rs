//! Extrema on CUDA: blocks of results and lanes as for sums.

use super::Extremum;
use crate::error::Result;
use crate::ops::reduce::cuda::{THREADS, lanes};
use crate::tensor::{Tensor, ViewMut};

/// places [outer, inner]: where along the axis of x [outer, n, inner], n ≥ 1, the extremum is.
pub(super) fn places(
    places: ViewMut,
    extremum: Extremum,
    x: &Tensor,
    [outer, n, inner]: [usize; 3],
) -> Result<()> {
    let which = match extremum {
        Extremum::Largest => "largest",
        Extremum::Smallest => "smallest",
    };
    let (results, lanes) = (outer * inner, lanes(n, inner));
    let launch = places
        .gpu()?
        .kernel("extremum", format!("extremum_{which}_{}", x.dtype()))
        .grid(results.div_ceil(THREADS / lanes), 1, 1)
        .block(THREADS)
        .arg(&places)
        .arg(x)
        .arg(results as u64)
        .arg(n as u32)
        .arg(inner as u64)
        .arg(lanes as u32);
    // SAFETY: x has outer·n·inner elements and places outer·inner, as mod.rs made them; no more lanes
    // than n, which is at least 1.
    unsafe { launch.run() }
}
