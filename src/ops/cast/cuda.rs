//! Casts on a card.

use crate::error::Result;
use crate::ops::pointwise::{input, output, over};
use crate::tensor::{Tensor, ViewMut};

pub(super) fn cast(y: ViewMut, x: &Tensor) -> Result<()> {
    let (gpu, n) = (y.gpu()?, y.len());
    let kernel = |what: &str| over(gpu, "cast", format!("cast_{what}"), n);
    let launch = match (x.dtype().is_float(), y.dtype().is_float()) {
        (true, true) => kernel("floats").arg_bytes(&output(&y)?).arg_bytes(&input(x)?),
        (false, _) => kernel("from_u32").arg_bytes(&output(&y)?).arg(x),
        (true, false) => kernel("to_u32").arg(&y).arg_bytes(&input(x)?),
    };
    // SAFETY: y has the n numbers of x, as allocated in mod.rs, and not its dtype.
    unsafe { launch.arg(n as u64).run() }
}
