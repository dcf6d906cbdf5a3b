use crate::DType;
use crate::ops::testing::*;
use crate::tensor::Tensor;

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
fn kernels_agree_with_the_cpu_at_any_width() {
    for (rows, width) in [(5, 1), (4, 31), (3, 33), (2, 769), (1, 50257)] {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let x = [normal(&[rows, width], 5)];
            let what = format!("softmax {rows}x{width}");
            agree(&what, &x, dtype, tolerance(dtype), &|x| x[0].softmax(1));
            agree(&format!("log {what}"), &x, dtype, tolerance(dtype), &|x| x[0].log_softmax(1));
            // Three uses of one tensor: two add to the gradient that the first has left.
            agree(&format!("repeated {what}"), &x, dtype, tolerance(dtype), &|x| {
                let y = x[0].softmax(1)?;
                y.softmax(1)?.mul(&y.log_softmax(1)?)
            });
        }
    }
}

#[test]
fn infinities_give_what_pytorch_gives() {
    let inf = f32::INFINITY;
    on_every_device(|device| {
        let softmax = |x: &[f32]| {
            let x = Tensor::from_slice(x, &[x.len()], device).unwrap();
            x.softmax(0).unwrap().to_vec::<f32>().unwrap()
        };
        assert_eq!(softmax(&[-inf, 0.0, -inf]), [0.0, 1.0, 0.0]);
        assert!(softmax(&[-inf, -inf]).iter().all(|y| y.is_nan()));
        assert!(softmax(&[0.0, f32::NAN]).iter().all(|y| y.is_nan()));
        assert!(softmax(&[inf, 0.0])[0].is_nan());
    });
}

#[test]
fn a_wide_row_adds_up_to_one_and_does_not_overflow() {
    let width = 50_257;
    let x: Vec<f32> = (0..width).map(|i| 1e4 + (i * 7919 % 1000) as f32 / 100.0).collect();
    let shifted: Vec<f32> = x.iter().map(|x| x - 1e4).collect();
    on_every_device(|device| {
        let row = |x: &[f32]| Tensor::from_slice(x, &[1, width], device).unwrap();
        let y = row(&x).softmax(1).unwrap().to_vec::<f32>().unwrap();
        let sum: f64 = y.iter().map(|y| f64::from(*y)).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        let shifted = row(&shifted).log_softmax(1).unwrap();
        assert_close("shift", &row(&x).log_softmax(1).unwrap(), &shifted, SUMS);
    });
}

#[test]
fn empty_rows_pass_and_a_missing_axis_is_named() {
    on_every_device(|device| {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, device).unwrap();
        assert_eq!(zeros(&[3, 0]).softmax(1).unwrap().dims(), [3, 0]);
        assert_eq!(zeros(&[3, 0]).log_softmax(0).unwrap().dims(), [3, 0]);
        assert_eq!(zeros(&[1]).softmax(0).unwrap().to_vec::<f32>().unwrap(), [1.0]);
        let error = zeros(&[]).softmax(0).unwrap_err().to_string();
        assert_eq!(error, "softmax: expected an axis of shape [], found 0");
    });
}
