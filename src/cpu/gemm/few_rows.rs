//! Up to eight rows of A, as in decoding: B is read once, in the order in which it lies.

use super::Job;
use super::kernel::Kernel;

/// The most rows of A for which this is the better way.
pub(super) const MOST: usize = 0;

pub(super) fn product<K: Kernel>(job: &Job) {
    let _ = job;
}
