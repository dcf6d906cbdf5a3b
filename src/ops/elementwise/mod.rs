//! Functions of one number, applied to each: a table of name, f and its derivative.
//!
//! ```text
//! y = f(x)        dx = dy·f'(x)
//! ```
//!
//! Only x is saved, and nothing where f is linear. At the kinks of `abs` and `relu` the derivative is 0, as PyTorch has it.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::expect_float;
use crate::cpu::math;
use crate::error::Result;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor};
use std::f32::consts::FRAC_2_SQRT_PI;

/// A differentiable function of one number, with what parameters it has.
trait Function: Copy + Send + Sync + 'static {
    const NAME: &str;
    /// Rough cost of a number, for cutting the work.
    const COST: usize;
    fn f(self, x: f32) -> f32;
    fn df(self, x: f32) -> f32;
    /// The number that it takes beside x; kernels know the functions by name.
    fn constant(self) -> f32 {
        0.0
    }
}

/// One row per function: its name, type and cost, f, its derivative, and an example.
macro_rules! functions {
    ($(
        $(#[$doc:meta])*
        $name:ident $Type:ident $cost:literal |$x:ident| $f:expr, $df:expr; $at:literal gives $value:literal
    )*) => {
        $(
            #[derive(Clone, Copy)]
            struct $Type;

            impl Function for $Type {
                const NAME: &str = stringify!($name);
                const COST: usize = $cost;

                #[inline(always)]
                fn f(self, $x: f32) -> f32 {
                    $f
                }

                #[inline(always)]
                #[allow(unused_variables)]
                fn df(self, $x: f32) -> f32 {
                    $df
                }
            }
        )*

        impl Tensor {
            $(
                $(#[$doc])*
                ///
                /// ```
                /// use copla::{Device, Tensor};
                #[doc = concat!(
                    "let y = Tensor::scalar(", stringify!($at), ", Device::Cpu)?.", stringify!($name), "()?;\n",
                    "assert!((y.item()? - ", stringify!($value), ").abs() < 1e-6);"
                )]
                /// # Ok::<(), copla::Error>(())
                /// ```
                pub fn $name(&self) -> Result<Tensor> {
                    apply($Type, self)
                }
            )*
        }
    };
}

functions! {
    /// |x| (`torch.abs`).
    abs Abs 2 |x| x.abs(), if x == 0.0 { 0.0 } else { 1f32.copysign(x) }; -2.0 gives 2.0

    /// eˣ (`torch.exp`).
    exp Exp 16 |x| math::exp(x), math::exp(x); 0.0 gives 1.0

    /// The natural logarithm (`torch.log`).
    ln Ln 16 |x| math::ln(x), 1.0 / x; 1.0 gives 0.0

    /// √x (`torch.sqrt`).
    sqrt Sqrt 4 |x| x.sqrt(), 0.5 / x.sqrt(); 9.0 gives 3.0

    /// 1/√x (`torch.rsqrt`).
    rsqrt Rsqrt 6 |x| 1.0 / x.sqrt(), -0.5 / (x * x.sqrt()); 4.0 gives 0.5

    /// 1/x (`torch.reciprocal`).
    recip Recip 4 |x| 1.0 / x, -1.0 / (x * x); 4.0 gives 0.25

    /// x² (`torch.square`).
    square Square 2 |x| x * x, 2.0 * x; 3.0 gives 9.0

    /// The sine of x in radians (`torch.sin`).
    sin Sin 32 |x| x.sin(), x.cos(); 0.0 gives 0.0

    /// The cosine of x in radians (`torch.cos`).
    cos Cos 32 |x| x.cos(), -x.sin(); 0.0 gives 1.0

    /// The hyperbolic tangent (`torch.tanh`).
    tanh Tanh 16 |x| math::tanh(x), (1.0 - math::tanh(x)) * (1.0 + math::tanh(x)); 0.0 gives 0.0

    /// σ(x) = 1 / (1 + e⁻ˣ) (`torch.sigmoid`).
    sigmoid Sigmoid 16 |x| math::sigmoid(x), math::sigmoid(x) * math::sigmoid(-x); 0.0 gives 0.5

    /// max(x, 0) (`torch.relu`).
    relu Relu 2 |x| if x < 0.0 { 0.0 } else { x }, if x > 0.0 { 1.0 } else { 0.0 }; -1.0 gives 0.0

    /// x·σ(x) (`torch.nn.functional.silu`).
    silu Silu 16 |x| x * math::sigmoid(x), math::sigmoid(x) * (1.0 + x * math::sigmoid(-x)); 0.0 gives 0.0

    /// The error function, 2/√π ∫₀ˣ e^(−t²) dt (`torch.erf`).
    erf Erf 24 |x| math::erf(x), FRAC_2_SQRT_PI * math::exp(-x * x); 0.0 gives 0.0

    /// GELU by its tanh form (`gelu(x, approximate="tanh")`; GPT-2's `gelu_new`).
    gelu Gelu 24 |x| math::gelu_tanh(x), math::gelu_tanh_grad(x); 1.0 gives 0.841192

    /// GELU by the error function, x·Φ(x) (`torch.nn.functional.gelu`).
    gelu_erf GeluErf 24 |x| math::gelu_erf(x), math::gelu_erf_grad(x); 1.0 gives 0.8413447
}

#[derive(Clone, Copy)]
struct AddScalar(f32);

impl Function for AddScalar {
    const NAME: &str = "add_scalar";
    const COST: usize = 2;

    #[inline(always)]
    fn f(self, x: f32) -> f32 {
        x + self.0
    }

    #[inline(always)]
    fn df(self, _: f32) -> f32 {
        1.0
    }

    fn constant(self) -> f32 {
        self.0
    }
}

#[derive(Clone, Copy)]
struct MulScalar(f32);

impl Function for MulScalar {
    const NAME: &str = "mul_scalar";
    const COST: usize = 2;

    #[inline(always)]
    fn f(self, x: f32) -> f32 {
        x * self.0
    }

    #[inline(always)]
    fn df(self, _: f32) -> f32 {
        self.0
    }

    fn constant(self) -> f32 {
        self.0
    }
}

#[derive(Clone, Copy)]
struct PowScalar(f32);

impl Function for PowScalar {
    const NAME: &str = "pow_scalar";
    const COST: usize = 64;

    #[inline(always)]
    fn f(self, x: f32) -> f32 {
        x.powf(self.0)
    }

    #[inline(always)]
    fn df(self, x: f32) -> f32 {
        // x⁰ is constant also where x⁻¹ is infinite.
        if self.0 == 0.0 { 0.0 } else { self.0 * x.powf(self.0 - 1.0) }
    }

    fn constant(self) -> f32 {
        self.0
    }
}

impl Tensor {
    /// −x (`torch.neg`).
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// assert_eq!(Tensor::scalar(2.0, Device::Cpu)?.neg()?.item()?, -2.0);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn neg(&self) -> Result<Tensor> {
        self.mul_scalar(-1.0)
    }

    /// x + c.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// assert_eq!(Tensor::scalar(2.0, Device::Cpu)?.add_scalar(0.5)?.item()?, 2.5);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn add_scalar(&self, c: f32) -> Result<Tensor> {
        Ok(compute(AddScalar(c), self)?.with_history(&[self], || Scaled { slope: 1.0 }))
    }

    /// c·x.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// assert_eq!(Tensor::scalar(2.0, Device::Cpu)?.mul_scalar(0.5)?.item()?, 1.0);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn mul_scalar(&self, c: f32) -> Result<Tensor> {
        Ok(compute(MulScalar(c), self)?.with_history(&[self], || Scaled { slope: c }))
    }

    /// xᶜ (`torch.pow` with a number as exponent).
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// assert_eq!(Tensor::scalar(4.0, Device::Cpu)?.pow_scalar(1.5)?.item()?, 8.0);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn pow_scalar(&self, c: f32) -> Result<Tensor> {
        apply(PowScalar(c), self)
    }
}

/// f(x), without history.
fn compute<F: Function>(function: F, x: &Tensor) -> Result<Tensor> {
    expect_float(F::NAME, "input", x)?;
    let mut y = Buffer::new(x.device(), x.dtype(), x.numel())?;
    match x.device() {
        Device::Cpu => cpu::forward(y.view_mut(), function, x)?,
        Device::Cuda(_) => cuda::forward(y.view_mut(), function, x)?,
        Device::Meta => {}
    }
    Ok(Tensor::new(y, *x.shape()))
}

fn apply<F: Function>(function: F, x: &Tensor) -> Result<Tensor> {
    Ok(compute(function, x)?.with_history(&[x], || Elementwise { function, x: x.detach() }))
}

struct Elementwise<F> {
    function: F,
    x: Tensor,
}

impl<F: Function> Op for Elementwise<F> {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let Self { function, x } = *self;
        if let Some((dx, beta)) = to.slot(0, &x)? {
            match x.device() {
                Device::Cpu => cpu::add_dx(dx, beta, function, &dy, &x)?,
                Device::Cuda(_) => cuda::add_dx(dx, beta, function, &dy, &x)?,
                Device::Meta => {}
            }
        }
        Ok(())
    }
}

/// The backward of a linear function, which needs no x.
struct Scaled {
    slope: f32,
}

impl Op for Scaled {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        to.give(0, if self.slope == 1.0 { dy } else { dy.mul_scalar(self.slope)? })
    }
}
