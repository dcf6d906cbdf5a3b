//! Functions of two numbers under NumPy broadcasting: a table of name, f and its partial derivatives.
//!
//! ```text
//! y = f(a, b)       da = Σ dy·∂f/∂a       db = Σ dy·∂f/∂b
//! ```
//!
//! where Σ is over what the operand was stretched to. Both operands are saved, but nothing where f is
//! linear. Of operands in two dtypes the result has f32, which holds both, as in PyTorch.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::strides::Walk;
use super::{expect_float, joint_dtype, same_device};
use crate::dtype::DType;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor};

/// A differentiable function of two numbers.
trait Function: Copy + Send + Sync + 'static {
    const NAME: &str;
    /// Whether the partial derivatives are the same everywhere.
    const LINEAR: bool;
    fn f(self, a: f32, b: f32) -> f32;
    fn da(self, a: f32, b: f32) -> f32;
    fn db(self, a: f32, b: f32) -> f32;
}

/// One row per function: its name and type, f, ∂f/∂a, ∂f/∂b, and an example.
macro_rules! functions {
    ($(
        $(#[$doc:meta])*
        $name:ident $Type:ident $(linear $linear:literal)? |$a:ident, $b:ident|
            $f:expr, $da:expr, $db:expr; $x:literal with $y:literal gives $value:literal
    )*) => {
        $(
            #[derive(Clone, Copy)]
            struct $Type;

            #[allow(unused_variables)]
            impl Function for $Type {
                const NAME: &str = stringify!($name);
                const LINEAR: bool = false $(|| $linear)?;

                #[inline(always)]
                fn f(self, $a: f32, $b: f32) -> f32 {
                    $f
                }

                #[inline(always)]
                fn da(self, $a: f32, $b: f32) -> f32 {
                    $da
                }

                #[inline(always)]
                fn db(self, $a: f32, $b: f32) -> f32 {
                    $db
                }
            }
        )*

        impl Tensor {
            $(
                $(#[$doc])*
                /// The shapes broadcast.
                ///
                /// ```
                /// use copla::{Device, Tensor};
                #[doc = concat!(
                    "let a = Tensor::scalar(", stringify!($x), ", Device::Cpu)?;\n",
                    "let b = Tensor::from_slice(&[", stringify!($y), "f32], &[1], Device::Cpu)?;\n",
                    "assert_eq!(a.", stringify!($name), "(&b)?.to_vec::<f32>()?, [",
                    stringify!($value), "]);"
                )]
                /// # Ok::<(), copla::Error>(())
                /// ```
                pub fn $name(&self, other: &Tensor) -> Result<Tensor> {
                    apply($Type, self, other)
                }
            )*
        }
    };
}

functions! {
    /// a + b (`torch.add`).
    add Add linear true |a, b| a + b, 1.0, 1.0; 3.0 with 2.0 gives 5.0

    /// a − b (`torch.sub`).
    sub Sub linear true |a, b| a - b, 1.0, -1.0; 3.0 with 2.0 gives 1.0

    /// a·b, element by element (`torch.mul`).
    mul Mul |a, b| a * b, b, a; 3.0 with 2.0 gives 6.0

    /// a / b (`torch.div`).
    div Div |a, b| a / b, 1.0 / b, -a / (b * b); 3.0 with 2.0 gives 1.5

    /// The larger of both (`torch.maximum`): NaN if one is; of equals each has half of the gradient.
    maximum Maximum |a, b|
        if a > b || a.is_nan() { a } else { b },
        share(a > b, a == b),
        share(a < b, a == b);
        3.0 with 2.0 gives 3.0

    /// The smaller of both (`torch.minimum`): NaN if one is; of equals each has half of the gradient.
    minimum Minimum |a, b|
        if a < b || a.is_nan() { a } else { b },
        share(a < b, a == b),
        share(a > b, a == b);
        3.0 with 2.0 gives 2.0
}

/// The part of a gradient that an operand has, which was chosen, or equal to the other.
#[inline(always)]
fn share(chosen: bool, equal: bool) -> f32 {
    if equal {
        0.5
    } else if chosen {
        1.0
    } else {
        0.0
    }
}

fn apply<F: Function>(function: F, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    expect_float(F::NAME, "left operand", a)?;
    expect_float(F::NAME, "right operand", b)?;
    let device = same_device(F::NAME, &[a, b])?;
    let shape = a.shape().broadcast(b.shape(), F::NAME)?;
    let mut y = Buffer::new(device, joint_dtype(a, b), shape.numel())?;
    let walk = Walk::broadcast(&shape, [a.shape(), b.shape()]);
    match device {
        Device::Cpu => cpu::forward(y.view_mut(), &walk, function, a, b)?,
        Device::Cuda(_) => cuda::forward::<F>(y.view_mut(), &walk, a, b)?,
        Device::Meta => {}
    }
    Tensor::record(y, shape, &[a, b], || Binary {
        function,
        operands: [a, b].map(|operand| (*operand.shape(), operand.dtype())),
        saved: (!F::LINEAR).then(|| [a.detach(), b.detach()]),
    })
}

struct Binary<F> {
    function: F,
    operands: [(Shape, DType); 2],
    saved: Option<[Tensor; 2]>,
}

impl<F: Function> Op for Binary<F> {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let Self { function, operands, saved } = *self;
        for (input, (shape, dtype)) in operands.into_iter().enumerate() {
            if !to.wants(input) {
                continue;
            }
            let through = match &saved {
                Some([a, b]) => {
                    // What is still to be summed stays in f32.
                    let dtype = if shape == *dy.shape() { dtype } else { DType::F32 };
                    partial(function, input, dtype, &dy, a, b)?
                }
                None => match [function.da(0.0, 0.0), function.db(0.0, 0.0)][input] {
                    1.0 => dy.clone(),
                    slope => dy.mul_scalar(slope)?,
                },
            };
            // A gradient has the dtype of its tensor.
            to.give(input, through.sum_to(&shape)?.cast(dtype)?)?;
        }
        Ok(())
    }
}

/// dy·∂f/∂a for `input` 0, dy·∂f/∂b for 1, of dy's shape.
fn partial<F: Function>(
    function: F,
    input: usize,
    dtype: DType,
    dy: &Tensor,
    a: &Tensor,
    b: &Tensor,
) -> Result<Tensor> {
    let mut through = Buffer::new(dy.device(), dtype, dy.numel())?;
    let walk = Walk::broadcast(dy.shape(), [a.shape(), b.shape()]);
    match dy.device() {
        Device::Cpu => cpu::partial(through.view_mut(), &walk, function, input, dy, a, b)?,
        Device::Cuda(_) => cuda::partial::<F>(through.view_mut(), &walk, input, dy, a, b)?,
        Device::Meta => {}
    }
    Ok(Tensor::new(through, *dy.shape()))
}
