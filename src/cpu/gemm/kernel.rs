//! The innermost product: a tile of C held in registers while k runs, once for every kind of vector.

use crate::cpu::simd::Level;

/// What the rest of this folder needs of a processor: the shape of its tile and four loops over it.
pub(super) trait Kernel: Sync {
    const LEVEL: Level;
    type V: Vector;
    /// Rows of A in a panel and in a tile of C.
    const ROWS: usize;
    /// Columns of B in a panel and in a tile of C.
    const COLS: usize;

    /// C [ROWS, COLS] = α·A·B + β·C from packed panels: `a` is [depth, ROWS], `b` [depth, COLS]. With
    /// β = 0, C is not read.
    ///
    /// # Safety
    /// The processor has `LEVEL`; `a` and `b` hold that many numbers; the `ROWS` rows of `COLS` numbers
    /// every `stride` from `c` may be written, and no other thread reaches them.
    unsafe fn tile(depth: usize, a: *const f32, b: *const f32, c: Tile);

    /// Transposes N ≤ 8 runs of 8 numbers, one every `stride`, into 8 runs of N, one every `width`.
    ///
    /// # Safety
    /// The processor has `LEVEL`; the runs lie within what may be read and written.
    #[inline(always)]
    unsafe fn transpose<const N: usize>(
        from: *const f32,
        stride: usize,
        to: *mut f32,
        width: usize,
    ) {
        for i in 0..N {
            for l in 0..8 {
                // SAFETY: the caller's.
                unsafe { *to.add(l * width + i) = *from.add(i * stride + l) };
            }
        }
    }
}

/// Where a tile goes, how, and what to bring nearer meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// Numbers that a later tile will read.
    pub ahead: &'a [f32],
    pub start: *mut f32,
    pub stride: usize,
    pub alpha: f32,
    pub beta: f32,
}

/// A vector register of `f32`.
///
/// # Safety
/// Of every method: the processor has the vector's instructions, and a pointer reaches as many numbers
/// as the method reads or writes.
pub(super) trait Vector: Copy {
    const LANES: usize;
    unsafe fn zero() -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn broadcast(value: f32) -> Self;
    /// self · by + plus
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self;
    unsafe fn mul(self, by: Self) -> Self;
    unsafe fn add(self, plus: Self) -> Self;
}

/// [`Kernel::tile`] for R rows and N vectors: R·N sums stay in registers, and each step of k reads N
/// vectors of B and R numbers of A for R·N multiply-adds.
#[inline(always)]
unsafe fn tile<V: Vector, const R: usize, const N: usize>(
    depth: usize,
    mut a: *const f32,
    mut b: *const f32,
    c: Tile,
) {
    // SAFETY: `Kernel::tile`'s contract, which every line keeps to: `a` and `b` advance by what was
    // read, `depth` times, and row i of the tile begins at `i * stride`.
    unsafe {
        for i in 0..R {
            // C is not in the cache, and its rows lie in as many pages.
            prefetch(c.start.wrapping_add(i * c.stride));
        }
        for line in c.ahead.chunks(16) {
            prefetch(line.as_ptr());
        }
        let mut sums = [[V::zero(); N]; R];
        for _ in 0..depth {
            let mut row = [V::zero(); N];
            for (j, vector) in row.iter_mut().enumerate() {
                *vector = V::load(b.add(j * V::LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let value = V::broadcast(*a.add(i));
                for (sum, vector) in sums.iter_mut().zip(row) {
                    *sum = value.mul_add(vector, *sum);
                }
            }
            a = a.add(R);
            b = b.add(N * V::LANES);
        }
        let (alpha, beta) = (V::broadcast(c.alpha), V::broadcast(c.beta));
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                let place = c.start.add(i * c.stride + j * V::LANES);
                let new = alpha.mul(sum);
                let old = |place| V::load(place).mul(beta);
                (if c.beta == 0.0 { new } else { new.add(old(place)) }).store(place);
            }
        }
    }
}

#[inline(always)]
fn prefetch(_place: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that reads nothing; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(_place.cast());
    }
}

/// Without a processor to name: arrays, which the compiler turns into what the target has.
pub(super) struct Portable;

impl Kernel for Portable {
    const LEVEL: Level = Level::Baseline;
    type V = [f32; 4];
    const ROWS: usize = 4;
    const COLS: usize = 8;

    unsafe fn tile(depth: usize, a: *const f32, b: *const f32, c: Tile) {
        // SAFETY: the same contract.
        unsafe { tile::<Self::V, 4, 2>(depth, a, b, c) }
    }
}

impl Vector for [f32; 4] {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        [0.0; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { from.cast::<Self>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }

    #[inline(always)]
    unsafe fn broadcast(value: f32) -> Self {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
        // A fused multiply-add is one instruction on aarch64 and a slow call on bare x86-64.
        let fused = cfg!(target_arch = "aarch64");
        std::array::from_fn(|i| {
            if fused { self[i].mul_add(by[i], plus[i]) } else { self[i] * by[i] + plus[i] }
        })
    }

    #[inline(always)]
    unsafe fn mul(self, by: Self) -> Self {
        std::array::from_fn(|i| self[i] * by[i])
    }

    #[inline(always)]
    unsafe fn add(self, plus: Self) -> Self {
        std::array::from_fn(|i| self[i] + plus[i])
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Level, Tile, Vector, tile};
    use std::arch::x86_64::*;

    /// 6 × 16: twelve of the sixteen registers hold sums, enough for two multiply-adds in every cycle.
    pub struct Avx2;

    impl Kernel for Avx2 {
        const LEVEL: Level = Level::Avx2;
        type V = __m256;
        const ROWS: usize = 6;
        const COLS: usize = 16;

        #[target_feature(enable = "avx2,fma")]
        unsafe fn tile(depth: usize, a: *const f32, b: *const f32, c: Tile) {
            // SAFETY: the same contract.
            unsafe { tile::<__m256, 6, 2>(depth, a, b, c) }
        }

        #[inline]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn transpose<const N: usize>(
            from: *const f32,
            stride: usize,
            to: *mut f32,
            width: usize,
        ) {
            // SAFETY: the same contract.
            unsafe { transpose_8::<N>(from, stride, to, width) }
        }
    }

    /// 14 × 32: 28 of the 32 registers hold sums.
    pub struct Avx512;

    impl Kernel for Avx512 {
        const LEVEL: Level = Level::Avx512;
        type V = __m512;
        const ROWS: usize = 14;
        const COLS: usize = 32;

        #[target_feature(enable = "avx512f")]
        unsafe fn tile(depth: usize, a: *const f32, b: *const f32, c: Tile) {
            // SAFETY: the same contract.
            unsafe { tile::<__m512, 14, 2>(depth, a, b, c) }
        }

        #[inline]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn transpose<const N: usize>(
            from: *const f32,
            stride: usize,
            to: *mut f32,
            width: usize,
        ) {
            // SAFETY: the same contract.
            unsafe { transpose_8::<N>(from, stride, to, width) }
        }
    }

    /// [`Kernel::transpose`] in three steps of shuffles: pairs, quads, halves.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn transpose_8<const N: usize>(
        from: *const f32,
        stride: usize,
        to: *mut f32,
        width: usize,
    ) {
        let mut rows = [_mm256_setzero_ps(); 8];
        for (i, row) in rows.iter_mut().enumerate().take(N) {
            // SAFETY: the caller's: N runs of 8.
            *row = unsafe { _mm256_loadu_ps(from.add(i * stride)) };
        }
        let mut pairs = rows;
        for i in (0..8).step_by(2) {
            pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
        }
        let mut quads = pairs;
        for i in [0, 4] {
            for (j, (low, high)) in [(i, i + 2), (i + 1, i + 3)].into_iter().enumerate() {
                quads[i + 2 * j] = _mm256_shuffle_ps::<0x44>(pairs[low], pairs[high]);
                quads[i + 2 * j + 1] = _mm256_shuffle_ps::<0xee>(pairs[low], pairs[high]);
            }
        }
        for l in 0..4 {
            let first = _mm256_permute2f128_ps::<0x20>(quads[l], quads[l + 4]);
            let last = _mm256_permute2f128_ps::<0x31>(quads[l], quads[l + 4]);
            for (l, run) in [(l, first), (l + 4, last)] {
                // SAFETY: the caller's: 8 runs of N, and N numbers of `run` are copied.
                unsafe {
                    std::ptr::from_ref(&run)
                        .cast::<f32>()
                        .copy_to_nonoverlapping(to.add(l * width), N)
                };
            }
        }
    }

    macro_rules! vector {
        ($type:ty, $lanes:literal, $zero:ident, $load:ident, $store:ident, $set:ident, $fma:ident, $mul:ident, $add:ident) => {
            impl Vector for $type {
                const LANES: usize = $lanes;

                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY (here and below): the trait's contract.
                    unsafe { $zero() }
                }

                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    unsafe { $load(from) }
                }

                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    unsafe { $store(to, self) }
                }

                #[inline(always)]
                unsafe fn broadcast(value: f32) -> Self {
                    unsafe { $set(value) }
                }

                #[inline(always)]
                unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
                    unsafe { $fma(self, by, plus) }
                }

                #[inline(always)]
                unsafe fn mul(self, by: Self) -> Self {
                    unsafe { $mul(self, by) }
                }

                #[inline(always)]
                unsafe fn add(self, plus: Self) -> Self {
                    unsafe { $add(self, plus) }
                }
            }
        };
    }

    vector!(
        __m256,
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_mul_ps,
        _mm256_add_ps
    );
    vector!(
        __m512,
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_mul_ps,
        _mm512_add_ps
    );
}
