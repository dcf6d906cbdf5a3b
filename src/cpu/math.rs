//! Functions of one `f32` without branches, calls or tables, so that loops over them vectorise.
//!
//! Each states its largest error in ulp as the tests measure it against f64 over the whole range; NaN
//! gives NaN and infinities give limits unless a function says otherwise. They fuse no multiply with an
//! add, so they give the same bits on every processor. The polynomials are minimax fits (Lawson's
//! iteration, in f64) of the expressions that stand beside them.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LOG2_E, SQRT_2};

/// ln 2 in two parts: the first has few bits, so that its product with an exponent is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// Adding it to a number below 2²² leaves the nearest integer in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// x = n·ln 2 + r with |r| ≤ ln 2 / 2: (n, r). For |x| below 2²¹.
#[inline(always)]
fn reduce(x: f32) -> (i32, f32) {
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    (exponent, (x - n * LN2_HIGH) - n * LN2_LOW)
}

/// 2ⁿ for a normal result, −126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// Σ cᵢxⁱ.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    coefficients.into_iter().rev().fold(0.0, |sum, c| sum * x + c)
}

/// `x` held to at most `limit` in magnitude; NaN stays.
#[inline(always)]
fn hold(x: f32, limit: f32) -> f32 {
    let x = if x > limit { limit } else { x };
    if x < -limit { -limit } else { x }
}

/// eʳ − 1 for |r| ≤ ln 2 / 2, exact in relative terms down to 0.
#[inline(always)]
fn exp_m1_reduced(r: f32) -> f32 {
    // (eʳ − 1 − r) / r²
    let rest = polynomial(r, [0.5, 0.166_665_38, 0.041_666_266, 0.008_367_247, 0.001_394_759_5]);
    r + r * r * rest
}

/// eˣ (`torch.exp`).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these the result is 0 or ∞; within, 2ⁿ may need two factors (n from −150 to 128).
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (n, r) = reduce(x);
    let half = n >> 1;
    (1.0 + exp_m1_reduced(r)) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// The natural logarithm (`torch.log`): ln 0 = −∞, ln of less is NaN.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let bits = (if subnormal { x * 8_388_608.0 } else { x }).to_bits();
    // x = 2ⁿ·(1 + f) with 1 + f from √½ to √2.
    let n = (bits.wrapping_sub(FRAC_1_SQRT_2.to_bits()) as i32) >> 23;
    let f = f32::from_bits(bits.wrapping_sub((n << 23) as u32)) - 1.0;
    let n = n as f32 - if subnormal { 23.0 } else { 0.0 };
    // ln(1 + f) = 2·artanh(s) with s = f / (2 + f); what artanh has beyond s is small.
    let s = f / (2.0 + f);
    let z = s * s;
    let rest = z * polynomial(z, [0.666_666_6, 0.400_003_46, 0.285_366_03, 0.235_963_34]);
    let half_square = 0.5 * f * f;
    let fraction = f - (half_square - (s * (half_square + rest) + n * LN2_LOW));
    let value = fraction + n * LN2_HIGH;
    let value = if x < f32::INFINITY { value } else { x };
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    if x < 0.0 { f32::NAN } else { value }
}

/// tanh x (`torch.tanh`).
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // e^(−2|x|) − 1 keeps what 1 − e^(−2|x|) would cancel near 0.
    let y = -2.0 * x.abs();
    let (n, r) = reduce(if y < -40.0 { -40.0 } else { y });
    let power = power_of_two(n);
    let exp_m1 = power * exp_m1_reduced(r) + (power - 1.0);
    (exp_m1 / (2.0 + exp_m1)).copysign(x)
}

/// 1 / (1 + e⁻ˣ) (`torch.sigmoid`).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function 2/√π ∫₀ˣ e^(−t²) dt (`torch.erf`).
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let t = x.abs();
    // erf(x) / x in x², for |x| ≤ 1
    let z = if t > 1.0 { 1.0 } else { t * t };
    let near = t * polynomial(
        z,
        [
            FRAC_2_SQRT_PI,
            -0.376_126_26,
            0.112_835_854,
            -0.026_853_811,
            0.005_188_327_7,
            -8.010_193e-4,
            7.853_858e-5,
        ],
    );
    // −ln(1 − erf(x)), for 1 ≤ |x| ≤ 4; from there erf is 1 to the last bit
    let t = if t > 4.0 { 4.0 } else { t };
    let exponent = polynomial(
        t,
        [
            3.124_597_4e-4,
            1.127_202_3,
            0.637_964_9,
            0.103_256_27,
            -0.021_906_508,
            0.002_964_014_2,
            -1.879_725_4e-4,
        ],
    );
    let far = 1.0 - exp(-exponent);
    (if t > 1.0 { far } else { near }).copysign(x)
}

/// 2√(2/π): the sigmoid's argument in GELU is twice that of the hyperbolic tangent.
const GELU_SLOPE: f32 = FRAC_2_SQRT_PI * SQRT_2;
const GELU_CUBIC: f32 = 0.044715;

/// GELU by its tanh form, x·½(1 + tanh(√(2/π)(x + 0.044715x³))) = x·σ(2√(2/π)(x + 0.044715x³))
/// (Hendrycks and Gimpel, section 2; `gelu(x, approximate="tanh")`). −∞ gives NaN, as there.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    x * sigmoid(GELU_SLOPE * (x + GELU_CUBIC * x * x * x))
}

/// d [`gelu_tanh`] / dx.
#[inline(always)]
pub fn gelu_tanh_grad(x: f32) -> f32 {
    // Beyond 12 the slope is 0 or 1 to the last bit, and x³ cannot overflow.
    let x = hold(x, 12.0);
    let square = x * x;
    let s = sigmoid(GELU_SLOPE * x * (1.0 + GELU_CUBIC * square));
    s + x * s * (1.0 - s) * GELU_SLOPE * (1.0 + 3.0 * GELU_CUBIC * square)
}

/// GELU, x·Φ(x) with the normal distribution's Φ(x) = ½(1 + erf(x/√2)) (`gelu(x)`). −∞ gives NaN, as
/// there.
#[inline(always)]
pub fn gelu_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))
}

/// d [`gelu_erf`] / dx = Φ(x) + x·φ(x), with the normal density φ.
#[inline(always)]
pub fn gelu_erf_grad(x: f32) -> f32 {
    let held = hold(x, 15.0);
    let density = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * exp(-0.5 * held * held);
    0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)) + held * density
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    /// Every 1021st f32 of both signs, subnormals and infinities included: four million numbers.
    fn all() -> impl Iterator<Item = f32> {
        let infinity = f32::INFINITY.to_bits();
        (0..=infinity).step_by(1021).chain([infinity]).flat_map(|bits| {
            let x = f32::from_bits(bits);
            [x, -x]
        })
    }

    /// The largest error over `all` that `keep` lets through, in ulp of the right value.
    fn worst_ulp(
        f: impl Fn(f32) -> f32,
        right: impl Fn(f64) -> f64,
        keep: impl Fn(f32) -> bool,
    ) -> f64 {
        let mut worst = (0.0, 0.0);
        for x in all().filter(|&x| keep(x)) {
            let (got, want) = (f(x), right(f64::from(x)));
            let nearest = want as f32;
            if got == nearest || (got.is_nan() && want.is_nan()) {
                continue;
            }
            assert!(got.is_finite() && nearest.is_finite(), "f({x:e}) = {got:e}, not {want:e}");
            let next = f32::from_bits(nearest.abs().to_bits() + 1);
            let ulp = f64::from(next) - f64::from(nearest.abs());
            let error = (f64::from(got) - want).abs() / ulp;
            if error > worst.0 {
                worst = (error, x);
            }
        }
        println!("{:.2} ulp at {:e}", worst.0, worst.1);
        worst.0
    }

    /// The promise of every elementwise operation: 1.3e-6 relative + 1e-5.
    fn keeps_tolerance(f: impl Fn(f32) -> f32, right: impl Fn(f64) -> f64) {
        for x in all().filter(|x| x.is_finite()) {
            let (got, want) = (f64::from(f(x)), right(f64::from(x)));
            assert!(
                (got - want).abs() <= 1e-5 + 1.3e-6 * want.abs(),
                "f({x:e}) = {got:e}, not {want:e}"
            );
        }
    }

    /// erf by 2/√π·e^(−x²)·Σ 2ⁿx²ⁿ⁺¹/(2n+1)!! (Abramowitz and Stegun 7.1.6), all terms of one sign.
    fn erf_f64(x: f64) -> f64 {
        if x.abs() > 6.0 {
            return 1f64.copysign(x);
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        2.0 / PI.sqrt() * (-x * x).exp() * sum
    }

    fn gelu_tanh_f64(x: f64) -> f64 {
        0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
    }

    fn gelu_tanh_grad_f64(x: f64) -> f64 {
        let slope = (2.0 / PI).sqrt();
        let t = (slope * (x + 0.044715 * x * x * x)).tanh();
        let away = if t.abs() == 1.0 {
            0.0
        } else {
            x * (1.0 - t * t) * slope * (1.0 + 3.0 * 0.044715 * x * x)
        };
        0.5 * (1.0 + t + away)
    }

    fn normal(x: f64) -> f64 {
        0.5 * (1.0 + erf_f64(x / 2f64.sqrt()))
    }

    #[test]
    fn the_basic_functions_are_good_to_a_few_ulp() {
        assert!(worst_ulp(exp, f64::exp, |_| true) <= 1.5);
        assert!(worst_ulp(ln, f64::ln, |_| true) <= 1.5);
        assert!(worst_ulp(tanh, f64::tanh, |_| true) <= 2.5);
        assert!(worst_ulp(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), |x| x > -87.0) <= 2.5);
        assert!(worst_ulp(erf, erf_f64, |_| true) <= 2.5);
    }

    #[test]
    fn gelu_and_its_slope_keep_the_tolerance() {
        keeps_tolerance(sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
        keeps_tolerance(gelu_tanh, gelu_tanh_f64);
        keeps_tolerance(gelu_tanh_grad, gelu_tanh_grad_f64);
        keeps_tolerance(gelu_erf, |x| x * normal(x));
        keeps_tolerance(gelu_erf_grad, |x| {
            normal(x) + x * (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
        });
    }

    #[test]
    fn nan_stays_and_infinities_have_their_limits() {
        let functions =
            [exp, ln, tanh, sigmoid, erf, gelu_tanh, gelu_tanh_grad, gelu_erf, gelu_erf_grad];
        assert!(functions.iter().all(|f| f(f32::NAN).is_nan()));
        let (inf, tiny) = (f32::INFINITY, f32::MIN_POSITIVE / 8.0);
        assert_eq!([exp(inf), exp(-inf)], [inf, 0.0]);
        assert_eq!([ln(inf), ln(0.0), ln(-0.0), ln(1.0)], [inf, -inf, -inf, 0.0]);
        assert!(ln(-1.0).is_nan() && ln(-inf).is_nan());
        assert_eq!([tanh(inf), tanh(-inf), tanh(tiny)], [1.0, -1.0, tiny]);
        assert_eq!([sigmoid(inf), sigmoid(-inf)], [1.0, 0.0]);
        assert_eq!([erf(inf), erf(-inf)], [1.0, -1.0]);
        assert_eq!([gelu_tanh(inf), gelu_erf(inf)], [inf, inf]);
        assert_eq!([gelu_tanh_grad(inf), gelu_tanh_grad(-inf)], [1.0, 0.0]);
        assert_eq!([gelu_erf_grad(inf), gelu_erf_grad(-inf)], [1.0, 0.0]);
        assert!(tanh(-0.0).is_sign_negative() && erf(-0.0).is_sign_negative());
    }
}
