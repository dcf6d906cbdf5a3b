//! The one random generator: Philox4x32-10, the same numbers on every device.
//!
//! Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011), section 4.
//! A number is a pure function of a key and a counter, so nothing is carried from call to call:
//! accumulation, recomputation, packing and resumption replay exactly.

/// Four random words for this key and counter.
#[inline(always)]
pub fn philox(key: u64, counter: [u32; 4]) -> [u32; 4] {
    philox_lanes(key, counter.map(|word| [word])).map(|[word]| word)
}

/// [`philox`] for `L` counters at once, lane beside lane, so that its loops become vector code.
#[inline(always)]
fn philox_lanes<const L: usize>(key: u64, counters: [[u32; L]; 4]) -> [[u32; L]; 4] {
    let mut k = [key as u32, (key >> 32) as u32];
    let mut c = counters;
    for _ in 0..10 {
        let mut next = [[0; L]; 4];
        for lane in 0..L {
            let (hi0, lo0) = widening(0xD251_1F53, c[0][lane]);
            let (hi1, lo1) = widening(0xCD9E_8D57, c[2][lane]);
            next[0][lane] = hi1 ^ c[1][lane] ^ k[0];
            next[1][lane] = lo1;
            next[2][lane] = hi0 ^ c[3][lane] ^ k[1];
            next[3][lane] = lo0;
        }
        c = next;
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

#[inline(always)]
fn widening(a: u32, b: u32) -> (u32, u32) {
    let product = u64::from(a) * u64::from(b);
    ((product >> 32) as u32, product as u32)
}

/// What makes a run's numbers its own: the seed, the attempt (a count of steps, skipped ones
/// included) and the first sample of this micro-batch in the effective batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rng {
    pub seed: u64,
    pub attempt: u64,
    pub first_sample: u64,
}

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng { seed, attempt: 0, first_sample: 0 }
    }

    /// The key of one static place in the model (layer and site, never a call counter).
    pub fn key(&self, site: u64) -> u64 {
        // SplitMix64's finaliser: neighbouring sites get unrelated keys.
        let mut z = self.seed ^ site.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Four random words at a 64-bit logical coordinate under `key`, for this attempt.
    #[inline(always)]
    pub fn words(&self, key: u64, coordinate: u64) -> [u32; 4] {
        self.words_every(key, coordinate, 0).map(|[word]| word)
    }

    /// [`Rng::words`] at `coordinate`, `coordinate + step` and so on: word j of lane l at \[j\]\[l\].
    #[inline(always)]
    pub fn words_every<const L: usize>(
        &self,
        key: u64,
        coordinate: u64,
        step: u64,
    ) -> [[u32; L]; 4] {
        let (mut low, mut high) = ([0; L], [0; L]);
        for lane in 0..L {
            let at = coordinate.wrapping_add(step * lane as u64);
            (low[lane], high[lane]) = (at as u32, (at >> 32) as u32);
        }
        let attempt = [self.attempt as u32, (self.attempt >> 32) as u32].map(|word| [word; L]);
        philox_lanes(key, [low, high, attempt[0], attempt[1]])
    }
}

/// A word as a number in [0, 1): its upper 24 bits, so that every value is exact in f32.
#[inline(always)]
pub fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Two words as two independent standard normal numbers (Box and Muller, 1958).
pub fn normal_pair(a: u32, b: u32) -> (f32, f32) {
    // 1 − uniform is in (0, 1], where the logarithm is finite.
    let radius = (-2.0 * (1.0 - f64::from(uniform(a))).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * f64::from(uniform(b))).sin_cos();
    ((radius * cos) as f32, (radius * sin) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with Random123 (kat_vectors, philox4x32 10).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox(0, [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox(u64::MAX, [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(0x299f_31d0_a409_3822, [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn lanes_are_single_words_side_by_side() {
        let rng = Rng { seed: 5, attempt: 1 << 40, first_sample: 0 };
        let (key, start) = (rng.key(2), (1 << 32) - 8);
        let lanes: [[u32; 8]; 4] = rng.words_every(key, start, 4);
        for lane in 0..8 {
            let single = rng.words(key, start + 4 * lane as u64);
            assert_eq!(lanes.map(|words| words[lane]), single, "lane {lane}");
        }
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let rng = Rng::new(7);
        let key = rng.key(3);
        let mut values = Vec::new();
        for i in 0..20_000 {
            let w = rng.words(key, i);
            let ((a, b), (c, d)) = (normal_pair(w[0], w[1]), normal_pair(w[2], w[3]));
            values.extend([a, b, c, d].map(f64::from));
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        // Five standard errors of each estimate.
        assert!(mean.abs() < 5.0 / n.sqrt(), "{mean}");
        assert!((variance - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{variance}");
    }
}
