use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Tensor};

#[test]
fn equals_pytorch() {
    let golden = Golden::open("reduce");
    let cases = [("softmax_last", 2), ("softmax_0", 0)];
    for (case, axis) in cases {
        check_case(&golden, case, &["x"], SUMS, &|x| x[0].softmax(axis));
    }
    for (case, axis) in [("log_softmax_last", 2), ("log_softmax_1", 1)] {
        check_case(&golden, case, &["x"], SUMS, &|x| x[0].log_softmax(axis));
    }
    let (x, dy) = (golden.inputs("softmax_0", &["x"]), golden.tensor("softmax_0/dy"));
    check_storage("softmax", &x, &dy, &|x| x[0].softmax(1));
    check_storage("log_softmax", &x, &dy, &|x| x[0].log_softmax(2));
}

#[test]
fn a_wide_row_adds_up_to_one_and_does_not_overflow() {
    let width = 50_257;
    let x: Vec<f32> = (0..2 * width).map(|i| 1e4 + (i * 7919 % 1000) as f32 / 100.0).collect();
    let x = Tensor::from_slice(&x, &[2, width], Device::Cpu).unwrap();
    for y in x.softmax(1).unwrap().to_vec::<f32>().unwrap().chunks(width) {
        let sum: f64 = y.iter().map(|y| f64::from(*y)).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }
    let shifted = x.add_scalar(-1e4).unwrap().log_softmax(1).unwrap();
    assert_close("shift", &x.log_softmax(1).unwrap(), &shifted, SUMS);
}

#[test]
fn empty_rows_pass_and_a_missing_axis_is_named() {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, Device::Cpu).unwrap();
    assert_eq!(zeros(&[3, 0]).softmax(1).unwrap().dims(), [3, 0]);
    assert_eq!(zeros(&[3, 0]).log_softmax(0).unwrap().dims(), [3, 0]);
    assert_eq!(zeros(&[1]).softmax(0).unwrap().to_vec::<f32>().unwrap(), [1.0]);
    let error = zeros(&[]).softmax(0).unwrap_err().to_string();
    assert_eq!(error, "softmax: expected an axis of shape [], found 0");
}
