//! Extrema on the CPU: one scan of each row, or of the rows with all their columns at once.

use super::Extremum;
use crate::cpu::for_rows;
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

/// places [outer, inner]: where along the axis of x [outer, n, inner], n ≥ 1, the extremum is.
pub(super) fn places(
    mut places: ViewMut,
    extremum: Extremum,
    x: &Tensor,
    parts: [usize; 3],
) -> Result<()> {
    let x = x.read()?;
    let places = places.slice::<u32>()?;
    match extremum {
        Extremum::Largest => scan(places, &x, parts, |x, best| x > best),
        Extremum::Smallest => scan(places, &x, parts, |x, best| x < best),
    }
    Ok(())
}

fn scan(
    places: &mut [u32],
    x: &[f32],
    [_, n, inner]: [usize; 3],
    beyond: impl Fn(f32, f32) -> bool + Sync,
) {
    let better = |x: f32, best: f32| beyond(x, best) || (x.is_nan() && !best.is_nan());
    for_rows(places, inner, 2 * n * inner, |first, places| {
        let mut best = vec![0.0; inner];
        for (row, places) in places.chunks_exact_mut(inner).enumerate() {
            let x = &x[(first + row) * n * inner..][..n * inner];
            best.copy_from_slice(&x[..inner]);
            places.fill(0);
            for (i, x) in x.chunks_exact(inner).enumerate().skip(1) {
                for ((place, best), x) in places.iter_mut().zip(&mut best).zip(x) {
                    if better(*x, *best) {
                        (*place, *best) = (i as u32, *x);
                    }
                }
            }
        }
    });
}
