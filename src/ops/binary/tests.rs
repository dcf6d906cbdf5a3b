use crate::DType;
use crate::error::Result;
use crate::ops::testing::*;
use crate::tensor::{Device, Tensor};

type Function = fn(&Tensor, &Tensor) -> Result<Tensor>;

const ARITHMETIC: [(&str, Function); 4] =
    [("add", Tensor::add), ("sub", Tensor::sub), ("mul", Tensor::mul), ("div", Tensor::div)];

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, &[values.len()], Device::Cpu).unwrap()
}

#[test]
fn arithmetic_equals_pytorch_under_broadcasting() {
    let golden = Golden::open("elementwise");
    for (name, function) in ARITHMETIC {
        for broadcast in ["same", "row", "outer"] {
            let case = format!("{name}_{broadcast}");
            let forward = |x: &[Tensor]| function(&x[0], &x[1]);
            // Where a gradient is a sum, its terms cancel.
            let at = if broadcast == "same" { ELEMENTWISE } else { SUMS };
            check_case(&golden, &case, &["a", "b"], at, &forward);
            let values = golden.inputs(&case, &["a", "b"]);
            check_storage(&case, &values, &golden.tensor(&format!("{case}/dy")), &forward);
        }
    }
}

#[test]
fn the_larger_and_the_smaller_equal_pytorch() {
    let golden = Golden::open("elementwise");
    check_case(&golden, "maximum_same", &["a", "b"], ELEMENTWISE, &|x| x[0].maximum(&x[1]));
    check_case(&golden, "minimum_same", &["a", "b"], ELEMENTWISE, &|x| x[0].minimum(&x[1]));
}

#[test]
fn equals_share_the_gradient_and_nan_shows() {
    // At a tie both one-sided slopes are averaged, as central differences do too.
    let (tie, dy) = (vector(&[2.0, -1.0]), vector(&[1.0, 3.0]));
    for function in [Tensor::maximum, Tensor::minimum] {
        let both = [tie.clone(), tie.clone()];
        agree("tie", &both, DType::F32, ELEMENTWISE, &|x| function(&x[0], &x[1]));
        check_finite_differences("tie", std::slice::from_ref(&tie), &dy, &|x| {
            function(&x[0], &tie)
        });
        on_every_device(|device| {
            let [a, b] =
                [[f32::NAN, 1.0], [1.0, f32::NAN]].map(|x| vector(&x).to_device(device).unwrap());
            let shown = function(&a, &b).unwrap();
            assert!(shown.read().unwrap().iter().all(|y| y.is_nan()), "on {device}");
        });
    }
}

#[test]
fn an_operand_may_be_both_operands() {
    let x = vector(&[3.0, -0.5]);
    check_finite_differences("x·x", &[x], &vector(&[1.0, 2.0]), &|x| x[0].mul(&x[0]));
}

#[test]
fn two_float_dtypes_give_f32() {
    on_every_device(|device| {
        let on = |x: &[f32], dtype| vector(x).to_device(device).unwrap().cast(dtype).unwrap();
        let y = on(&[0.5, 1.5], DType::F16).mul(&on(&[2.0], DType::BF16)).unwrap();
        assert_eq!((y.dtype(), y.to_vec::<f32>().unwrap()), (DType::F32, vec![1.0, 3.0]));
    });
}

#[test]
fn a_card_broadcasts_as_the_cpu_does() {
    let shapes: [[&[usize]; 2]; 7] = [
        [&[1], &[1]],
        [&[769], &[769]],
        [&[33, 31], &[31]],
        [&[7, 64], &[7, 1]],
        [&[5, 1, 31], &[4, 1]],
        [&[], &[50257]],
        [&[2, 3, 1, 1, 2, 1], &[1, 1, 3, 2, 1, 9]],
    ];
    for (i, [a, b]) in shapes.into_iter().enumerate() {
        // Divisors away from 0.
        let b = normal(b, 5).abs().unwrap().add_scalar(0.5).unwrap();
        let values = [normal(a, 4), b];
        let dtype = [DType::F32, DType::F16, DType::BF16][i % 3];
        for (name, function) in ARITHMETIC {
            let what = format!("{name} of {a:?} and {:?}", values[1].dims());
            agree(&what, &values, dtype, tolerance(dtype), &|x| function(&x[0], &x[1]));
        }
        agree("maximum", &values, dtype, tolerance(dtype), &|x| x[0].maximum(&x[1]));
        agree("minimum", &values, dtype, tolerance(dtype), &|x| x[0].minimum(&x[1]));
    }
}

#[test]
fn large_broadcasts_are_cut_anywhere() {
    let (rows, width) = (901, 307);
    let a: Vec<f32> = (0..rows * width).map(|i| (i % 8191) as f32).collect();
    let b: Vec<f32> = (0..width).map(|i| i as f32).collect();
    on_every_device(|device| {
        let (a, b) = (
            Tensor::from_slice(&a, &[rows, width], device).unwrap(),
            Tensor::from_slice(&b, &[width], device).unwrap(),
        );
        let y = a.sub(&b).unwrap().to_vec::<f32>().unwrap();
        assert!(y.iter().enumerate().all(|(i, y)| *y == (i % 8191) as f32 - (i % width) as f32));
    });
}

#[test]
fn empty_shapes_pass_and_wrong_ones_are_named() {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, Device::Cpu).unwrap();
    assert_eq!(zeros(&[2, 0]).add(&zeros(&[2, 1])).unwrap().dims(), [2, 0]);
    let error = zeros(&[2, 3]).mul(&zeros(&[2])).unwrap_err().to_string();
    assert_eq!(error, "mul: expected a shape that broadcasts with [2, 3], found [2]");
    let meta = Tensor::zeros(&[2], DType::F32, Device::Meta).unwrap();
    let error = zeros(&[2]).sub(&meta).unwrap_err().to_string();
    assert_eq!(error, "sub: expected all tensors on cpu, found one on meta");
    let ids = Tensor::zeros(&[2], DType::U32, Device::Cpu).unwrap();
    let error = zeros(&[2]).div(&ids).unwrap_err().to_string();
    assert_eq!(error, "div: right operand: expected a float dtype, found u32");
}
