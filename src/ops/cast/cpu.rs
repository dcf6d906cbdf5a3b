//! Casts on the CPU: 16-bit floats through the conversions that every view has.

use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

pub(super) fn cast(mut y: ViewMut, x: &Tensor) -> Result<()> {
    match (x.dtype(), y.dtype()) {
        (DType::U32, _) => {
            let x = x.slice::<u32>()?;
            y.write(|y| y.iter_mut().zip(x).for_each(|(y, x)| *y = *x as f32))
        }
        (_, DType::U32) => {
            let x = x.read()?;
            y.slice::<u32>()?.iter_mut().zip(&*x).for_each(|(y, x)| *y = *x as u32);
            Ok(())
        }
        _ => {
            let x = x.read()?;
            y.write(|y| y.copy_from_slice(&x))
        }
    }
}
