//! The learning rate over a run: a linear warm-up, then linear, cosine or none.

use crate::error::{Error, Result};

/// What follows the warm-up (the names of `transformers`' `lr_scheduler_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// In a straight line to zero.
    Linear,
    /// Along half a cosine to zero (Loshchilov, Hutter, "SGDR", ICLR 2017, without restarts).
    Cosine,
    /// Not at all.
    Constant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    pub peak: f32,
    pub warmup_steps: u64,
    pub total_steps: u64,
    pub decay: Decay,
}

impl Schedule {
    /// A warm-up of at least 1 is a number of steps, below 1 a share of all.
    pub fn warmup_steps(warmup: f64, total_steps: u64) -> Result<u64> {
        if !(warmup >= 0.0 && warmup.is_finite()) {
            let expected = "a number of steps, or a share below 1";
            return Err(Error::usage("--warmup-steps", expected, format!("{warmup}")));
        }
        let steps = if warmup < 1.0 { warmup * total_steps as f64 } else { warmup };
        Ok(steps as u64)
    }

    /// The rate of step `step`, counted from 1; as `transformers`' schedulers have it.
    pub fn rate(&self, step: u64) -> f32 {
        let done = step.saturating_sub(1) as f64;
        let (warmup, total) = (self.warmup_steps as f64, self.total_steps as f64);
        if done < warmup {
            // transformers starts at 0, so that its first step moves nothing; one step on, it does.
            return (f64::from(self.peak) * (done + 1.0) / (warmup + 1.0)) as f32;
        }
        let progress = ((done - warmup) / (total - warmup).max(1.0)).min(1.0);
        let share = match self.decay {
            Decay::Linear => 1.0 - progress,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Decay::Constant => 1.0,
        };
        (f64::from(self.peak) * share) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decay: Decay) -> Schedule {
        Schedule { peak: 1.0, warmup_steps: 10, total_steps: 110, decay }
    }

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_as_told() {
        for decay in [Decay::Linear, Decay::Cosine, Decay::Constant] {
            let rates: Vec<f32> = (1..=110).map(|step| schedule(decay).rate(step)).collect();
            assert!(rates[..11].windows(2).all(|pair| pair[0] < pair[1]), "{rates:?}");
            assert_eq!(rates[10], 1.0);
            assert!(rates[0] > 0.0);
        }
        assert!((schedule(Decay::Linear).rate(61) - 0.5).abs() < 1e-6);
        assert!((schedule(Decay::Cosine).rate(61) - 0.5).abs() < 1e-6);
        assert!((schedule(Decay::Cosine).rate(36) - 0.853_553_4).abs() < 1e-6);
        assert_eq!(schedule(Decay::Constant).rate(110), 1.0);
        assert!(schedule(Decay::Linear).rate(110) < 0.011);
    }

    #[test]
    fn a_warmup_below_one_is_a_share() {
        assert_eq!(Schedule::warmup_steps(0.1, 200).unwrap(), 20);
        assert_eq!(Schedule::warmup_steps(30.0, 200).unwrap(), 30);
        assert!(Schedule::warmup_steps(-1.0, 200).is_err());
        assert!(Schedule::warmup_steps(f64::NAN, 200).is_err());
    }
}
