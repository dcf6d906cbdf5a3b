//! How operands with any strides are read in the row-major order of an output: broadcasting,
//! permuting and cutting out are all this one walk.

use crate::shape::Shape;
use std::ops::Range;

/// The axes of an output and, for each of `N` operands, how far its elements lie apart along them.
/// Axes of size 1 are left out and neighbours that every operand passes in one stride are one axis,
/// so that operands of one shape are a single long row.
pub(super) struct Walk<const N: usize> {
    /// Outermost first: the size of an axis, and each operand's stride along it (0: it stretches).
    outer: Vec<(usize, [usize; N])>,
    inner: (usize, [usize; N]),
}

/// A `Walk` of C (`pointwise.cuh`): axes of two operands, innermost first, each with its size and both
/// strides; those that are missing have size 1.
pub(super) type Axes = [[u64; 3]; Shape::MAX_RANK];
pub(super) const NO_AXES: Axes = [[1, 0, 0]; Shape::MAX_RANK];

/// The strides of a row-major shape.
pub(super) fn contiguous(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

impl<const N: usize> Walk<N> {
    /// `strides` has one entry per axis for each operand.
    pub fn new(dims: &[usize], strides: [&[usize]; N]) -> Self {
        let mut axes: Vec<(usize, [usize; N])> = Vec::new();
        for (axis, &size) in dims.iter().enumerate().filter(|&(_, &size)| size != 1) {
            let stride = strides.map(|strides| strides[axis]);
            match axes.last_mut() {
                Some((before, outer)) if *outer == stride.map(|stride| stride * size) => {
                    *before *= size;
                    *outer = stride;
                }
                _ => axes.push((size, stride)),
            }
        }
        let inner = axes.pop().unwrap_or((1, [1; N]));
        Walk { outer: axes, inner }
    }

    /// Operands that broadcast to `output` by NumPy's rule.
    pub fn broadcast(output: &Shape, operands: [&Shape; N]) -> Self {
        let strides = operands.map(|shape| {
            let missing = output.len() - shape.len();
            let mut strides = vec![0; missing];
            strides.extend(contiguous(shape));
            for (axis, _) in shape.iter().enumerate().filter(|&(_, &size)| size == 1) {
                strides[missing + axis] = 0;
            }
            strides
        });
        Walk::new(output, strides.each_ref().map(Vec::as_slice))
    }

    /// The length of a run.
    pub fn width(&self) -> usize {
        self.inner.0
    }

    /// Each operand's stride within a run.
    pub fn inner_strides(&self) -> [usize; N] {
        self.inner.1
    }

    /// What `entry` makes of each axis' size and strides, innermost first.
    fn for_kernels(&self, mut entry: impl FnMut(usize, [usize; N]) -> [usize; 3]) -> Axes {
        let mut axes = NO_AXES;
        let inward = std::iter::once(&self.inner).chain(self.outer.iter().rev());
        for (axis, &(size, strides)) in axes.iter_mut().zip(inward) {
            *axis = entry(size, strides).map(|n| n as u64);
        }
        axes
    }

    /// Calls `run(place, starts)` for every part of an innermost row within `range` of the output:
    /// its place there, and where each operand begins.
    #[inline(always)]
    pub fn runs(&self, range: Range<usize>, mut run: impl FnMut(Range<usize>, [usize; N])) {
        let (width, strides) = self.inner;
        if range.is_empty() || width == 0 {
            return;
        }
        // Where the range begins: a row, as an index along each outer axis, and a column in it.
        let (mut row, mut column) = (range.start / width, range.start % width);
        let mut index = [0; Shape::MAX_RANK];
        let mut starts = [0; N];
        for (axis, (size, strides)) in self.outer.iter().enumerate().rev() {
            index[axis] = row % size;
            row /= size;
            for n in 0..N {
                starts[n] += index[axis] * strides[n];
            }
        }
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + width - column);
            let mut from = starts;
            for n in 0..N {
                from[n] += column * strides[n];
            }
            run(at..end, from);
            at = end;
            column = 0;
            for (axis, (size, strides)) in self.outer.iter().enumerate().rev() {
                index[axis] += 1;
                if index[axis] < *size {
                    for n in 0..N {
                        starts[n] += strides[n];
                    }
                    break;
                }
                index[axis] = 0;
                for n in 0..N {
                    starts[n] -= (size - 1) * strides[n];
                }
            }
        }
    }
}

impl Walk<1> {
    /// The operand's axes beside those of the output.
    pub fn axes_beside_output(&self) -> Axes {
        let mut beside = 1;
        self.for_kernels(|size, [stride]| {
            let axis = [size, stride, beside];
            beside *= size;
            axis
        })
    }
}

impl Walk<2> {
    pub fn axes(&self) -> Axes {
        self.for_kernels(|size, [a, b]| [size, a, b])
    }

    /// Fills `y`, the part of the output that begins at `first`, with f of what both operands have
    /// there. They broadcast, so no axis longer than 1 stretches both.
    #[inline(always)]
    pub fn zip<T: Copy, U>(
        &self,
        y: &mut [U],
        first: usize,
        a: &[T],
        b: &[T],
        f: impl Fn(T, T) -> U,
    ) {
        let strides = self.inner_strides();
        self.runs(
            first..first + y.len(),
            #[inline(always)]
            |place, [i, j]| {
                let y = &mut y[place.start - first..place.end - first];
                match strides {
                    [0, _] => y.iter_mut().zip(&b[j..]).for_each(|(y, b)| *y = f(a[i], *b)),
                    [_, 0] => y.iter_mut().zip(&a[i..]).for_each(|(y, a)| *y = f(*a, b[j])),
                    _ => {
                        let operands = a[i..].iter().zip(&b[j..]);
                        y.iter_mut().zip(operands).for_each(|(y, (a, b))| *y = f(*a, *b));
                    }
                }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dims: &[usize]) -> Shape {
        Shape::new(dims).unwrap()
    }

    /// Every element of the output with the places that are read for it.
    fn visits<const N: usize>(walk: &Walk<N>, range: Range<usize>) -> Vec<(usize, [usize; N])> {
        let mut visits = Vec::new();
        walk.runs(range, |place, starts| {
            for (i, at) in place.enumerate() {
                let strides = walk.inner_strides();
                visits.push((at, std::array::from_fn(|n| starts[n] + i * strides[n])));
            }
        });
        visits
    }

    #[test]
    fn operands_of_one_shape_are_one_row() {
        let walk = Walk::broadcast(&shape(&[2, 1, 3]), [&shape(&[2, 1, 3]), &shape(&[2, 1, 3])]);
        assert!(walk.outer.is_empty() && walk.inner == (6, [1, 1]));
    }

    #[test]
    fn any_part_of_a_broadcast_reads_what_the_indices_say() {
        let walk = Walk::broadcast(&shape(&[5, 4, 3]), [&shape(&[5, 1, 3]), &shape(&[4, 1])]);
        let expected = |at: usize| (at, [at / 12 * 3 + at % 3, at / 3 % 4]);
        for range in [0..60, 0..1, 7..8, 11..49, 59..60, 13..13] {
            assert_eq!(visits(&walk, range.clone()), Vec::from_iter(range.map(expected)));
        }
    }

    #[test]
    fn a_scalar_and_an_empty_axis_are_walked_too() {
        assert_eq!(visits(&Walk::broadcast(&shape(&[]), [&shape(&[])]), 0..1), [(0, [0])]);
        assert_eq!(
            visits(&Walk::broadcast(&shape(&[2]), [&shape(&[])]), 0..2),
            [(0, [0]), (1, [0])]
        );
        assert!(visits(&Walk::broadcast(&shape(&[2, 0]), [&shape(&[1, 1])]), 0..0).is_empty());
    }
}
