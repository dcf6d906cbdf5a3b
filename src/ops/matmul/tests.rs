use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Tensor};

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::zeros(dims, DType::F32, Device::Cpu).unwrap()
}

/// Small whole numbers, so that products are exact in every order of addition.
fn numbers(dims: &[usize], seed: usize) -> Tensor {
    let n = dims.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 31 + seed * 17) % 7) as f32 - 3.0).collect();
    Tensor::from_slice(&values, dims, Device::Cpu).unwrap()
}

#[test]
fn equals_pytorch() {
    let golden = Golden::open("matmul");
    for case in golden.cases() {
        let forward = |x: &[Tensor]| x[0].matmul(&x[1]);
        check_case(&golden, &case, &["a", "b"], SUMS, &forward);
        let values = golden.inputs(&case, &["a", "b"]);
        check_storage(&case, &values, &golden.tensor(&format!("{case}/dy")), &forward);
    }
}

#[test]
fn either_operand_broadcasts_like_copies_of_itself() {
    let shapes: [(&[usize], &[usize]); 5] = [
        (&[2, 5], &[3, 5, 4]),
        (&[3, 1, 2, 5], &[4, 5, 3]),
        (&[3, 2, 2, 5], &[2, 5, 1]),
        (&[2, 5], &[5, 3]),
        (&[6, 2, 5], &[1, 1, 5, 3]),
    ];
    for (a, b) in shapes {
        let front = |dims: &[usize]| crate::Shape::new(&dims[..dims.len() - 2]).unwrap();
        let joined = front(a).broadcast(&front(b), "").unwrap();
        let whole = |dims: &[usize]| [&*joined, &dims[dims.len() - 2..]].concat();
        let (x, y) = (numbers(a, 1), numbers(b, 2));
        let copies = [x.broadcast_to(&whole(a)).unwrap(), y.broadcast_to(&whole(b)).unwrap()];
        let (found, expected) = (x.matmul(&y).unwrap(), copies[0].matmul(&copies[1]).unwrap());
        assert_eq!(found.dims(), expected.dims());
        assert_eq!(found.to_vec::<f32>().unwrap(), expected.to_vec::<f32>().unwrap());
        let dy = numbers(found.dims(), 3);
        check_finite_differences("broadcast", &[x, y], &dy, &|x| x[0].matmul(&x[1]));
    }
}

#[test]
fn a_card_agrees_on_any_broadcast_in_any_storage() {
    let shapes: [(&[usize], &[usize]); 8] = [
        (&[1, 1], &[1, 1]),
        (&[31, 33], &[33, 65]),
        (&[3, 769], &[769, 2]),
        (&[6, 4, 5], &[6, 5, 3]),
        (&[2, 5], &[3, 5, 4]),
        (&[3, 1, 2, 5], &[4, 5, 3]),
        (&[2, 3, 2, 5], &[2, 1, 5, 3]),
        (&[0, 4, 3], &[3, 2]),
    ];
    for (a, b) in shapes {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let inputs = [normal(a, 1), normal(b, 2)];
            let what = format!("{a:?}·{b:?}");
            agree(&what, &inputs, dtype, tolerance(dtype), &|x| x[0].matmul(&x[1]));
        }
    }
}

#[test]
fn two_types_meet_in_f32() {
    let (a, b) = (numbers(&[2, 3, 5], 1), numbers(&[2, 5, 4], 2));
    let expected = a.matmul(&b).unwrap();
    let b = b.cast(DType::F16).unwrap();
    on_every_device(|device| {
        let y = a.to_device(device).unwrap().matmul(&b.to_device(device).unwrap()).unwrap();
        assert_eq!(y.dtype(), DType::F32);
        assert_eq!(y.to_vec::<f32>().unwrap(), expected.to_vec::<f32>().unwrap(), "{device}");
    });
}

#[test]
fn gradients_add_to_what_is_there() {
    // Both uses of x write into one place, the second with beta 1.
    let (x, dy) = (numbers(&[3, 3], 1), numbers(&[3, 3], 2));
    check_finite_differences("x·x", &[x], &dy, &|x| x[0].matmul(&x[0]));
}

#[test]
fn empty_products_are_zero() {
    let dims = |a: &[usize], b: &[usize]| zeros(a).matmul(&zeros(b)).unwrap().dims().to_vec();
    assert_eq!(dims(&[0, 3], &[3, 2]), [0, 2]);
    assert_eq!(dims(&[0, 4, 3], &[3, 2]), [0, 4, 2]);
    assert_eq!(dims(&[4, 3], &[0, 3, 2]), [0, 4, 2]);
    let sums = zeros(&[2, 0]).matmul(&zeros(&[0, 2])).unwrap();
    assert_eq!(sums.to_vec::<f32>().unwrap(), [0.0; 4]);
    // A matrix that took part in no product has a gradient of zero.
    let (a, dy) = (numbers(&[4, 3], 1), zeros(&[0, 4, 2]));
    check_finite_differences("empty", &[a], &dy, &|x| x[0].matmul(&zeros(&[0, 3, 2])));
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let error = |a: &[usize], b: &[usize]| zeros(a).matmul(&zeros(b)).unwrap_err().to_string();
    assert_eq!(
        error(&[3], &[3, 2]),
        "matmul: expected [.., m, k] and [.., k, n], found [3] and [3, 2]"
    );
    assert_eq!(
        error(&[2, 3], &[2, 3]),
        "matmul: expected [.., 3, n] on the right of [2, 3], found [2, 3]"
    );
    assert_eq!(
        error(&[2, 1, 3], &[3, 3, 1]),
        "matmul: expected a shape that broadcasts with [2], found [3]"
    );
}
