//! Shapes: the sizes of a row-major tensor's axes, outermost first.

use crate::error::{Error, Result};
use std::fmt;
use std::ops::Deref;

/// Up to [`Shape::MAX_RANK`] axes, kept in place so that a shape costs no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; Self::MAX_RANK],
    rank: usize,
}

impl Shape {
    pub const MAX_RANK: usize = 6;

    /// Fails when there are more than [`Shape::MAX_RANK`] axes or the element count overflows.
    pub fn new(dims: &[usize]) -> Result<Self> {
        let overflow = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).is_none();
        if dims.len() > Self::MAX_RANK || overflow {
            return Err(Error::shape(
                "shape",
                format!("at most {} axes, fewer than 2^64 elements", Self::MAX_RANK),
                format!("{dims:?}"),
            ));
        }
        let mut shape = Shape { dims: [0; Self::MAX_RANK], rank: dims.len() };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// How many elements; 1 for a scalar (no axes).
    pub fn numel(&self) -> usize {
        self.iter().product()
    }

    /// The size of the last axis (1 for a scalar).
    pub fn last_dim(&self) -> usize {
        self.last().copied().unwrap_or(1)
    }

    /// How many rows there are along the last axis: `numel / last_dim`.
    pub fn rows(&self) -> usize {
        self[..self.rank.saturating_sub(1)].iter().product()
    }

    /// The shape both broadcast to by NumPy's rule: axes are aligned at the end, and a 1 (or a
    /// missing axis) stretches.
    pub fn broadcast(&self, other: &Shape, op: &str) -> Result<Shape> {
        let rank = self.rank.max(other.rank);
        let mut dims = [1; Self::MAX_RANK];
        for (i, dim) in dims[..rank].iter_mut().enumerate() {
            let a = (i + self.rank).checked_sub(rank).map_or(1, |i| self[i]);
            let b = (i + other.rank).checked_sub(rank).map_or(1, |i| other[i]);
            *dim = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => {
                    return Err(Error::shape(
                        op,
                        format!("a shape that broadcasts with {self}"),
                        format!("{other}"),
                    ));
                }
            };
        }
        Shape::new(&dims[..rank])
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &**self)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        let shape = |dims: &[usize]| Shape::new(dims).unwrap();
        let joined = shape(&[5, 1, 3]).broadcast(&shape(&[4, 1]), "add").unwrap();
        assert_eq!(&*joined, &[5, 4, 3]);
        assert_eq!(&*shape(&[]).broadcast(&shape(&[2]), "add").unwrap(), &[2]);
        let error = shape(&[2]).broadcast(&shape(&[3]), "add").unwrap_err();
        assert_eq!(error.to_string(), "add: expected a shape that broadcasts with [2], found [3]");
    }

    #[test]
    fn impossible_shapes_are_refused() {
        assert!(Shape::new(&[1; 7]).is_err());
        assert!(Shape::new(&[usize::MAX, 2]).is_err());
    }
}
