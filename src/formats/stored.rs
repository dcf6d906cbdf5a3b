//! One stored tensor, whatever kind of file it lies in, and what is said when it is not there.

use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::formats::mapped::Mapped;
use ::safetensors::Dtype;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::borrow::Cow;
use std::path::Path;

/// One tensor of an open file: a view of it where the file holds the elements in row-major order.
#[derive(Clone, Debug)]
pub struct StoredTensor<'a> {
    /// File and name, for the messages.
    pub(super) thing: String,
    pub dtype: DType,
    /// Row-major; empty for a scalar.
    pub shape: &'a [usize],
    /// Little endian, at any alignment.
    pub bytes: Cow<'a, [u8]>,
    pub(super) file: &'a Mapped,
}

impl StoredTensor<'_> {
    /// Bad data unless the tensor has just this shape.
    pub fn expect_shape(self, shape: &[usize]) -> Result<Self> {
        match self.shape == shape {
            true => Ok(self),
            false => {
                let found = format!("{:?}", self.shape);
                Err(Error::bad_data(self.thing, format!("shape {shape:?}"), found))
            }
        }
    }

    /// The values as f32: exact, since f32 holds every f16 and bf16. Bad data if they are integers.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.bytes.len() / self.dtype.size()];
        self.floats()?(0, &mut values);
        Ok(values)
    }

    /// What reads a part of the values: `(first, out)` fills `out` with those from `first` on, as
    /// [`to_f32`](Self::to_f32) has them. Bad data if they are integers.
    ///
    /// # Panics
    /// The reader, if there are not so many.
    pub fn floats(&self) -> Result<impl Fn(usize, &mut [f32]) + Sync> {
        let widen = match self.dtype {
            DType::F32 => |bytes: &[u8], out: &mut [f32]| {
                bytemuck::cast_slice_mut(out).copy_from_slice(bytes);
            },
            DType::F16 => widen::<f16>,
            DType::BF16 => widen::<bf16>,
            DType::U32 => return Err(Error::bad_data(&*self.thing, "F32, F16 or BF16", "U32")),
        };
        Ok(move |first, out: &mut [f32]| widen(self.part(first, out.len()), out))
    }

    /// Says that `len` elements from `first` on were read: where they are a view of the file, its pages
    /// no longer count as this process's memory.
    pub fn release(&self, first: usize, len: usize) {
        self.file.release(self.part(first, len));
    }

    fn part(&self, first: usize, len: usize) -> &[u8] {
        let size = self.dtype.size();
        &self.bytes[first * size..(first + len) * size]
    }

    /// The values of a U32 tensor (token ids, indices). Bad data if it is another dtype.
    pub fn to_u32(&self) -> Result<Vec<u32>> {
        if self.dtype != DType::U32 {
            let found = self.dtype.to_string().to_uppercase();
            return Err(Error::bad_data(&*self.thing, "U32", found));
        }
        let mut values = vec![0u32; self.bytes.len() / 4];
        bytemuck::cast_slice_mut(&mut values).copy_from_slice(&self.bytes);
        Ok(values)
    }
}

/// 16-bit floats to f32 by way of a small aligned buffer, which is what lets `half` use the
/// processor's own conversion.
fn widen<H: Element>(bytes: &[u8], out: &mut [f32])
where
    [H]: HalfFloatSliceExt,
{
    const BLOCK: usize = 512;
    let mut block = [H::default(); BLOCK];
    for (out, bytes) in out.chunks_mut(BLOCK).zip(bytes.chunks(2 * BLOCK)) {
        let halves = &mut block[..out.len()];
        bytemuck::cast_slice_mut(halves).copy_from_slice(bytes);
        halves.convert_to_f32_slice(out);
    }
}

/// What a message calls the weight `name` of the file `path`.
pub(super) fn thing(path: &Path, name: &str) -> String {
    format!("{}: weight `{name}`", path.display())
}

/// The dtype in memory of elements of `dtype` in a file. Bad data where there is none.
pub(super) fn dtype(thing: &str, dtype: Dtype) -> Result<DType> {
    match dtype {
        Dtype::F32 => Ok(DType::F32),
        Dtype::F16 => Ok(DType::F16),
        Dtype::BF16 => Ok(DType::BF16),
        Dtype::U32 => Ok(DType::U32),
        other => Err(Error::bad_data(thing, "F32, F16, BF16 or U32", other.to_string())),
    }
}

/// The error for a weight that the file `path` with these `names` does not hold.
pub(super) fn missing<'a>(path: &Path, name: &str, names: impl Iterator<Item = &'a str>) -> Error {
    let found = match nearest(name, names)[..] {
        [] => "no weight at all".to_string(),
        ref names => format!("none of that name (nearest: {})", names.join(", ")),
    };
    Error::bad_data(path.display().to_string(), format!("a weight `{name}`"), found)
}

/// Up to three names that may have been meant. One that differs by a prefix only (`transformer.`)
/// comes first, then the fewest edits.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<_> = names
        .map(|other| (!(other.ends_with(name) || name.ends_with(other)), edits(name, other), other))
        .collect();
    names.sort();
    names.into_iter().take(3).map(|(_, _, name)| name).collect()
}

/// Levenshtein's distance in bytes: one row of the table, overwritten from `a`'s first byte to its last.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::mapped;

    #[test]
    fn all_16_bit_floats_widen_exactly_at_odd_alignments() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let mut shifted = vec![0u8];
        shifted.extend(bytemuck::cast_slice::<u16, u8>(&all));
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, shifted).unwrap();
        let file = &mapped::open(&path, "all 16-bit floats").unwrap();
        let stored = |dtype| StoredTensor {
            thing: String::new(),
            dtype,
            shape: &[1 << 16],
            bytes: file[1..].into(),
            file,
        };
        let half = stored(DType::F16).to_f32().unwrap();
        let brain = stored(DType::BF16).to_f32().unwrap();
        // A part is the same as the whole's, released or not.
        let mut part = [0.0; 1000];
        stored(DType::F16).release(0, 1 << 16);
        stored(DType::F16).floats().unwrap()(12_345, &mut part);
        assert_eq!(part, half[12_345..13_345]);
        for bits in all {
            let same = |x: f32, y: f32| x == y || x.is_nan() && y.is_nan();
            let i = usize::from(bits);
            assert!(same(half[i], f16::from_bits(bits).to_f32_const()), "f16 {bits:#x}");
            assert!(same(brain[i], f32::from_bits(u32::from(bits) << 16)), "bf16 {bits:#x}");
        }
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("copla", "coplas", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edits(a, b), expected, "{a} {b}");
        }
    }
}
