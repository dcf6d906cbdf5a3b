//! Products on a card: as many at once as lie at even distances.

use super::Products;
use crate::error::Result;
use crate::ops::gemm::{Mat, MatMut, gemms};
use crate::tensor::{Tensor, ViewMut};
use std::collections::HashMap;

pub(super) fn forward(mut y: ViewMut, products: &Products, a: &Tensor, b: &Tensor) -> Result<()> {
    let Products { m, k, n, operands } = products;
    let (m, k, n) = (*m, *k, *n);
    let places = operands.iter().enumerate().map(|(y, &[i, j])| [y, i, j]).collect();
    for Run { count, first, steps } in runs(places) {
        let a = Mat::new(a, first[1] * m * k, [m, k])?.every(steps[1] * m * k);
        let b = Mat::new(b, first[2] * k * n, [k, n])?.every(steps[2] * k * n);
        let y = MatMut::new(&mut y, first[0] * m * n, [m, n])?.every(steps[0] * m * n);
        gemms(count, 1.0, a, b, 0.0, y)?;
    }
    Ok(())
}

/// da = beta·da + Σ dy·bᵀ.
pub(super) fn add_da(
    mut da: ViewMut,
    beta: f32,
    products: &Products,
    dy: &Tensor,
    b: &Tensor,
) -> Result<()> {
    let Products { m, k, n, .. } = *products;
    add(&mut da, beta, products, 0, |da, Run { count, first, steps }, beta| {
        let dy = Mat::new(dy, first[1] * m * n, [m, n])?.every(steps[1] * m * n);
        let b = Mat::new(b, first[2] * k * n, [k, n])?.every(steps[2] * k * n);
        let da = MatMut::new(da, first[0] * m * k, [m, k])?.every(steps[0] * m * k);
        gemms(count, 1.0, dy, b.t(), beta, da)
    })
}

/// db = beta·db + Σ aᵀ·dy.
pub(super) fn add_db(
    mut db: ViewMut,
    beta: f32,
    products: &Products,
    dy: &Tensor,
    a: &Tensor,
) -> Result<()> {
    let Products { m, k, n, .. } = *products;
    add(&mut db, beta, products, 1, |db, Run { count, first, steps }, beta| {
        let dy = Mat::new(dy, first[1] * m * n, [m, n])?.every(steps[1] * m * n);
        let a = Mat::new(a, first[2] * m * k, [m, k])?.every(steps[2] * m * k);
        let db = MatMut::new(db, first[0] * k * n, [k, n])?.every(steps[0] * k * n);
        gemms(count, 1.0, a.t(), dy, beta, db)
    })
}

/// For each matrix of operand `which`: beta times itself, plus what it gets from every product that
/// it took part in, in order. `run` adds many products whose sums, results and other factors are at
/// the places of a [`Run`].
fn add(
    sums: &mut ViewMut,
    beta: f32,
    products: &Products,
    which: usize,
    run: impl Fn(&mut ViewMut, Run, f32) -> Result<()>,
) -> Result<()> {
    if products.operands.is_empty() && beta == 0.0 {
        // They took part in none.
        // SAFETY: the view has `len` elements of this size.
        return unsafe { sums.gpu()?.fill(sums.ptr()?, 0, sums.dtype().size(), sums.len()) };
    }
    // Every matrix once, then those that are used twice, and so on: what is added at the same time
    // goes to different places.
    let mut rounds: Vec<Vec<[usize; 3]>> = Vec::new();
    let mut uses = HashMap::new();
    for (y, operands) in products.operands.iter().enumerate() {
        let round = uses.entry(operands[which]).or_insert(0);
        if *round == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[*round].push([operands[which], y, operands[1 - which]]);
        *round += 1;
    }
    for (i, round) in rounds.into_iter().enumerate() {
        let beta = if i == 0 { beta } else { 1.0 };
        runs(round).into_iter().try_for_each(|places| run(sums, places, beta))?;
    }
    Ok(())
}

/// `count` products whose result and operands begin at matrices `first`, each `steps` further on.
struct Run {
    count: usize,
    first: [usize; 3],
    steps: [usize; 3],
}

/// The places of products, cut where a distance changes or is backwards.
fn runs(places: Vec<[usize; 3]>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let step = |from: [usize; 3], to: [usize; 3]| {
        let [a, b, c] = [0, 1, 2].map(|i| to[i].checked_sub(from[i]));
        Some([a?, b?, c?])
    };
    let mut last = [0; 3];
    for place in places {
        match (runs.last_mut(), step(last, place)) {
            (Some(run), Some(steps)) if run.count == 1 || run.steps == steps => {
                (run.count, run.steps) = (run.count + 1, steps);
            }
            _ => runs.push(Run { count: 1, first: place, steps: [0; 3] }),
        }
        last = place;
    }
    runs
}
