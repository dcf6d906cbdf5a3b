//! The factor that keeps small f16 gradients from vanishing, and finds its own size.
//!
//! Micikevicius et al., "Mixed Precision Training" (ICLR 2018), section 3.2; the constants are those of
//! `torch.amp.GradScaler`. bf16 and f32 reach as far as any gradient and need none.

use crate::dtype::DType;

/// What the loss of the next step is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    factor: f32,
    /// Steps without overflow since the factor last changed.
    good_steps: u32,
    dynamic: bool,
}

impl LossScale {
    const FIRST: f32 = 65_536.0;
    /// Beyond it the loss itself is no f32 any more.
    const LARGEST: f32 = 1e30;
    /// A gradient that overflows at this scale does so by itself: training has diverged.
    const SMALLEST: f32 = 1.0;
    const STEPS_BEFORE_DOUBLING: u32 = 2000;

    /// For parameters of this dtype.
    pub fn of(dtype: DType) -> Self {
        let dynamic = dtype == DType::F16;
        LossScale { factor: if dynamic { Self::FIRST } else { 1.0 }, good_steps: 0, dynamic }
    }

    pub fn factor(&self) -> f32 {
        self.factor
    }

    /// After a step whose gradients were all finite.
    pub fn succeeded(&mut self) {
        self.good_steps += 1;
        if self.dynamic && self.good_steps == Self::STEPS_BEFORE_DOUBLING {
            self.factor = (2.0 * self.factor).min(Self::LARGEST);
            self.good_steps = 0;
        }
    }

    /// After a step with a gradient that is not finite, which changed nothing: whether a smaller
    /// factor is left to try.
    pub fn overflowed(&mut self) -> bool {
        if !self.dynamic || self.factor <= Self::SMALLEST {
            return false;
        }
        self.factor *= 0.5;
        self.good_steps = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_on_overflow_and_doubles_after_2000_good_steps() {
        let mut scale = LossScale::of(DType::F16);
        assert_eq!(scale.factor(), 65_536.0);
        (0..1999).for_each(|_| scale.succeeded());
        assert_eq!(scale.factor(), 65_536.0);
        scale.succeeded();
        assert_eq!(scale.factor(), 131_072.0);
        (0..1999).for_each(|_| scale.succeeded());
        assert!(scale.overflowed());
        assert_eq!(scale.factor(), 65_536.0);
        // The overflow began the count anew.
        scale.succeeded();
        assert_eq!(scale.factor(), 65_536.0);
    }

    #[test]
    fn overflow_without_a_smaller_factor_is_divergence() {
        let mut scale = LossScale::of(DType::F16);
        let halvings = (0..100).take_while(|_| scale.overflowed()).count();
        assert_eq!((halvings, scale.factor()), (16, 1.0));
        for dtype in [DType::F32, DType::BF16] {
            let mut scale = LossScale::of(dtype);
            assert_eq!((scale.factor(), scale.overflowed()), (1.0, false));
            (0..5000).for_each(|_| scale.succeeded());
            assert_eq!(scale.factor(), 1.0);
        }
    }
}
