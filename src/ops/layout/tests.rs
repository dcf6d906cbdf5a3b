use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Tensor};

const DTYPES: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::U32];

fn counted(dims: &[usize], dtype: DType) -> Tensor {
    counted_on(Device::Cpu, dims, dtype)
}

fn counted_on(device: Device, dims: &[usize], dtype: DType) -> Tensor {
    let values: Vec<u32> = (0..dims.iter().product::<usize>() as u32).collect();
    Tensor::from_slice(&values, dims, device).unwrap().cast(dtype).unwrap()
}

fn ids(x: &Tensor) -> Vec<u32> {
    x.cast(DType::U32).unwrap().to_vec().unwrap()
}

#[test]
fn equals_pytorch() {
    let golden = Golden::open("layout");
    let check = |case: &str, inputs: &[&str], forward: Forward| {
        check_case(&golden, case, inputs, SUMS, forward);
        let dy = golden.tensor(&format!("{case}/dy"));
        check_storage(case, &golden.inputs(case, inputs), &dy, forward);
    };
    check("permute", &["x"], &|x| x[0].permute(&[2, 0, 3, 1]));
    check("concat_1", &["a", "b"], &|x| Tensor::concat(&[&x[0], &x[1]], 1));
    check("narrow_1", &["x"], &|x| x[0].narrow(1, 2, 4));
    check("broadcast_to", &["x"], &|x| x[0].broadcast_to(&[5, 4, 3]));
}

#[test]
fn elements_of_every_dtype_are_moved() {
    for dtype in DTYPES {
        on_every_device(|device| move_elements(device, dtype));
    }
}

fn move_elements(device: Device, dtype: DType) {
    let counted = |dims| counted_on(device, dims, dtype);
    let x = counted(&[2, 3, 4]);
    let moved = x.transpose(0, 2).unwrap();
    let expected: Vec<u32> = (0..24).map(|i| i % 2 * 12 + i / 2 % 3 * 4 + i / 6).collect();
    assert_eq!((moved.dims(), ids(&moved)), (&[4, 3, 2][..], expected), "{dtype}");
    assert_eq!(ids(&x.narrow(1, 1, 1).unwrap()), [4, 5, 6, 7, 16, 17, 18, 19]);
    let pieces = x.split(2, &[1, 0, 3]).unwrap();
    assert_eq!(ids(&pieces[0]), [0, 4, 8, 12, 16, 20]);
    assert_eq!(pieces[1].dims(), [2, 3, 0]);
    let whole = Tensor::concat(&Vec::from_iter(&pieces), 2).unwrap();
    assert_eq!((whole.dtype(), ids(&whole)), (dtype, ids(&x)));
    let wide = x.narrow(2, 3, 1).unwrap().broadcast_to(&[2, 3, 2]).unwrap();
    assert_eq!(ids(&wide), [3, 3, 7, 7, 11, 11, 15, 15, 19, 19, 23, 23]);
    let (a, b) = (counted(&[2]), counted(&[2]));
    assert_eq!(ids(&Tensor::stack(&[&a, &b], 1).unwrap()), [0, 0, 1, 1]);
}

#[test]
fn a_card_moves_what_the_cpu_moves() {
    // Tiles that are cut on both sides, alone and in a batch; rows that stay whole; six axes.
    let cases: [(&[usize], &[usize]); 7] = [
        (&[1, 769], &[1, 0]),
        (&[33, 65], &[1, 0]),
        (&[3, 31, 40], &[0, 2, 1]),
        (&[3, 31, 40], &[2, 1, 0]),
        (&[2, 5, 3, 64], &[0, 2, 1, 3]),
        (&[2, 3, 4, 2, 3, 5], &[5, 3, 1, 0, 2, 4]),
        (&[2, 3, 4, 2, 3, 5], &[4, 5, 0, 3, 2, 1]),
    ];
    for ((dims, axes), dtype) in cases.into_iter().flat_map(|case| DTYPES.map(|t| (case, t))) {
        let moves = |device: Device| {
            let x = counted_on(device, dims, dtype);
            let (last, size) = (dims.len() - 1, dims[dims.len() - 1]);
            let moved = x.permute(axes).unwrap();
            let part = x.narrow(last, size / 3, size - size / 2).unwrap();
            let joined = Tensor::concat(&[&part, &x], last).unwrap();
            let single = x.narrow(last, size / 2, 1).unwrap();
            let stretched = single.broadcast_to(dims).unwrap();
            [moved, part, joined, single, stretched].map(|y| ids(&y))
        };
        let expected = moves(Device::Cpu);
        on_cuda(|device| assert!(moves(device) == expected, "{dims:?} by {axes:?} of {dtype}"));
    }
}

#[test]
fn pieces_of_every_size_write_their_gradients_on_a_card() {
    for n in [3, 31, 33, 769, 50257] {
        let x = [normal(&[2, n], 1)];
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            agree(&format!("pieces of {n}"), &x, dtype, tolerance(dtype), &|x| {
                let square = x[0].mul(&x[0])?;
                let pieces = square.split(1, &[n / 3, n - 2 * (n / 3), n / 3])?;
                Tensor::concat(&[&pieces[2], &pieces[0], &pieces[1]], 1)
            });
        }
    }
}

#[test]
fn large_tensors_are_cut_anywhere() {
    let (rows, cols) = (517, 331);
    on_every_device(|device| {
        let x = counted_on(device, &[rows, cols], DType::U32);
        let moved = ids(&x.transpose(0, 1).unwrap());
        let expected = |i: usize| (i % rows * cols + i / rows) as u32;
        assert!(moved.iter().enumerate().all(|(i, x)| *x == expected(i)), "on {device}");
        let part = ids(&x.narrow(1, 7, 301).unwrap());
        let expected = |i: usize| (i / 301 * cols + 7 + i % 301) as u32;
        assert!(part.iter().enumerate().all(|(i, x)| *x == expected(i)), "on {device}");
    });
}

#[test]
fn pieces_write_their_gradients_into_one() {
    let x = counted(&[3, 5], DType::F32);
    let dy = counted(&[3, 2], DType::F32);
    let forward = |x: &[Tensor]| {
        let pieces = x[0].split(1, &[2, 1, 2])?;
        pieces[0].mul(&pieces[2])?.add(&pieces[1])
    };
    check_finite_differences("split", std::slice::from_ref(&x), &dy, &forward);
    check_storage("split", &[x], &dy, &forward);
    let (a, dy) = (counted(&[2, 3], DType::F32), counted(&[2, 2, 3], DType::F32));
    check_finite_differences("stack", &[a.clone(), a], &dy, &|x| {
        Tensor::stack(&[&x[0], &x[1]], 1)?.unsqueeze(0)?.squeeze(0)
    });
}

#[test]
fn what_cannot_be_is_named() {
    let x = counted(&[2, 3], DType::F32);
    let line = |result: crate::Result<Tensor>| result.unwrap_err().to_string();
    let cases = [
        (x.permute(&[0, 0]), "permute: expected each axis of shape [2, 3] once, found [0, 0]"),
        (x.transpose(0, 2), "transpose: expected an axis of shape [2, 3], found 2"),
        (x.narrow(1, 2, 2), "narrow: expected places within 3 along axis 1, found 2 from 2"),
        (
            x.narrow(1, 1, usize::MAX),
            "narrow: expected places within 3 along axis 1, found 18446744073709551615 from 1",
        ),
        (
            x.broadcast_to(&[3]),
            "broadcast_to: expected a shape that [2, 3] broadcasts to, found [3]",
        ),
        (x.squeeze(0), "squeeze: expected size 1 at axis 0, found shape [2, 3]"),
        (x.unsqueeze(3), "unsqueeze: expected axis up to 2, found 3"),
        (Tensor::concat(&[], 0), "concat: expected at least one tensor, found none"),
        (Tensor::stack(&[], 0), "concat: expected at least one tensor, found none"),
        (
            Tensor::concat(&[&x, &counted(&[3, 2], DType::F32)], 0),
            "concat: expected f32 [2, 3] but for axis 0, found f32 [3, 2]",
        ),
        (
            Tensor::concat(&[&x, &counted(&[2, 3], DType::U32)], 0),
            "concat: expected f32 [2, 3] but for axis 0, found u32 [2, 3]",
        ),
        (
            Tensor::stack(&[&x, &counted(&[3], DType::F32)], 0),
            "stack: expected tensors of shape [2, 3], found [3]",
        ),
    ];
    for (result, expected) in cases {
        assert_eq!(line(result), expected);
    }
    let split = x.split(1, &[1, 1]).unwrap_err().to_string();
    assert_eq!(split, "split: expected sizes that add up to 3, found [1, 1]");
}

#[test]
fn empty_axes_are_moved_too() {
    let x = counted(&[2, 0, 3], DType::F32);
    assert_eq!(x.permute(&[2, 1, 0]).unwrap().dims(), [3, 0, 2]);
    assert_eq!(x.narrow(0, 1, 1).unwrap().dims(), [1, 0, 3]);
    assert_eq!(Tensor::concat(&[&x, &x], 1).unwrap().dims(), [2, 0, 3]);
    assert_eq!(counted(&[1], DType::F32).broadcast_to(&[0, 1]).unwrap().dims(), [0, 1]);
    assert_eq!(counted(&[], DType::F32).permute(&[]).unwrap().dims(), [0usize; 0]);
}
