use super::cuda;
use crate::DType;
use crate::ops::testing::*;
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Tensor};

#[test]
fn sums_and_means_equal_pytorch() {
    let golden = Golden::open("reduce");
    for axis in 0..3 {
        check_case(&golden, &format!("sum_{axis}"), &["x"], SUMS, &|x| x[0].sum(axis, false));
        check_case(&golden, &format!("mean_{axis}"), &["x"], SUMS, &|x| x[0].mean(axis, false));
    }
    check_case(&golden, "sum_all", &["x"], SUMS, &|x| x[0].sum_all());
    check_case(&golden, "mean_all", &["x"], SUMS, &|x| x[0].mean_all());
}

#[test]
fn storage_in_16_bits_sums_in_f32() {
    let golden = Golden::open("reduce");
    for axis in 0..3 {
        let dy = golden.tensor(&format!("mean_{axis}/dy"));
        let x = golden.inputs("sum_all", &["x"]);
        check_storage("mean", &x, &dy, &|x| x[0].mean(axis, false));
        check_storage("sum", &x, &dy.unsqueeze(axis).unwrap(), &|x| x[0].sum(axis, true));
    }
    // 4096 ones: an f16 running sum would stop at 2048, a bf16 one at 256.
    on_every_device(|device| {
        for dtype in [DType::F16, DType::BF16] {
            let ones = Tensor::full(1.0, &[4096, 2], dtype, device).unwrap();
            let sums = ones.sum(0, false).unwrap().read().unwrap().to_vec();
            assert_eq!(sums, [4096.0, 4096.0]);
            assert_eq!(ones.sum_all().unwrap().item().unwrap(), 8192.0);
        }
    });
}

#[test]
fn kernels_agree_with_the_cpu_along_any_axis() {
    // The last two are cut in parts, which add up in a second launch.
    let cases: [(&[usize], usize); 9] = [
        (&[1, 1, 1], 1),
        (&[3, 31, 1], 1),
        (&[2, 33, 2], 1),
        (&[2, 5, 769], 1),
        (&[3, 300, 40], 1),
        (&[7, 3], 1),
        (&[300, 2], 1),
        (&[50257], 0),
        (&[2, 3001, 3], 1),
    ];
    for (dims, axis) in cases {
        let x = normal(dims, 7);
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let x = x.cast(dtype).unwrap();
            let sum = x.mean(axis, false).unwrap();
            on_cuda(|device| {
                let found = x.to_device(device).unwrap().mean(axis, false).unwrap();
                assert_eq!(found.dtype(), dtype);
                assert_close(&format!("{dims:?} in {dtype}"), &found, &sum, tolerance(dtype));
            });
        }
    }
}

#[test]
fn one_lane_keeps_the_digits_of_a_long_sum() {
    // 1024 equal terms for each of 8 lanes: a plain f32 sum of them is off by 1e-5 of itself.
    let (n, inner) = (8192, 32);
    let exact = 8192.0 * f64::from(0.1f32);
    on_cuda(|device| {
        let x = Tensor::full(0.1, &[n, inner], DType::F32, device).unwrap();
        let mut y = Buffer::new(device, DType::F32, inner).unwrap();
        cuda::sum_parts(&y.view_mut(), &x, DType::F32, [1, n, inner], 1, 1.0).unwrap();
        let y = Tensor::new(y, Shape::new(&[inner]).unwrap()).to_vec::<f32>().unwrap();
        for sum in y {
            let error = (f64::from(sum) - exact).abs();
            assert!(error <= 1e-5 + 1.3e-6 * exact, "{sum} for {exact}");
        }
    });
}

#[test]
fn an_infinite_term_makes_an_infinite_sum() {
    on_every_device(|device| {
        // So many that other numbers follow it in the same lane.
        let x: Vec<f32> = (0..600).map(|i| if i == 7 { f32::INFINITY } else { 1.0 }).collect();
        let x = Tensor::from_slice(&x, &[600], device).unwrap();
        assert_eq!(x.sum_all().unwrap().item().unwrap(), f32::INFINITY);
    });
}

#[test]
fn sum_to_is_the_gradient_of_broadcasting() {
    let x: Vec<f32> = (0..60).map(|i| i as f32).collect();
    let x = Tensor::from_slice(&x, &[5, 4, 3], Device::Cpu).unwrap();
    let sum = |dims: &[usize]| x.sum_to(dims).unwrap().to_vec::<f32>().unwrap();
    let by_hand = |keep: &dyn Fn(usize) -> usize, n: usize| {
        let mut sums = vec![0.0; n];
        (0..60).for_each(|i| sums[keep(i)] += i as f32);
        sums
    };
    assert_eq!(sum(&[3]), by_hand(&|i| i % 3, 3));
    assert_eq!(sum(&[4, 1]), by_hand(&|i| i / 3 % 4, 4));
    assert_eq!(sum(&[5, 1, 3]), by_hand(&|i| i / 12 * 3 + i % 3, 15));
    assert_eq!(sum(&[]), by_hand(&|_| 0, 1));
    let dy = Tensor::from_slice(&[1.0f32, -2.0, 0.5, 3.0], &[4, 1], Device::Cpu).unwrap();
    check_finite_differences("sum_to", std::slice::from_ref(&x), &dy, &|x| x[0].sum_to(&[4, 1]));
    let error = x.sum_to(&[2]).unwrap_err().to_string();
    assert_eq!(error, "sum_to: expected a shape that broadcasts with [2], found [5, 4, 3]");
    let error = x.sum_to(&[2, 5, 4, 3]).unwrap_err().to_string();
    assert_eq!(error, "sum_to: expected a shape that broadcasts to [5, 4, 3], found [2, 5, 4, 3]");
}

#[test]
fn long_sums_keep_their_digits_whatever_the_axis_and_the_threads() {
    let n = 1 << 20;
    // Nearly equal terms, so that a running f32 sum rounds the same way again and again.
    let x: Vec<f32> = (0..n).map(|i| 0.1 + (i % 1009) as f32 * 1e-7).collect();
    let exact = |start: usize, step: usize| -> f64 {
        x[start..].iter().step_by(step).map(|x| f64::from(*x)).sum()
    };
    let close = |dims: &[usize], step: usize, sums: &[f32]| {
        for (i, sum) in sums.iter().enumerate() {
            let exact = exact(i, step);
            let error = (f64::from(*sum) - exact).abs();
            assert!(error <= 1e-5 + 1.3e-6 * exact, "{dims:?}[{i}]: {sum} for {exact}");
        }
    };
    let with_threads = |threads: usize, dims: &[usize], axis: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let x = Tensor::from_slice(&x, dims, Device::Cpu).unwrap();
        pool.install(|| x.sum(axis, false)).unwrap().to_vec::<f32>().unwrap()
    };
    let cases: [(&[usize], usize, usize); 3] =
        [(&[n], 0, 1), (&[n / 2, 2], 0, 2), (&[n / 128, 128], 0, 128)];
    for (dims, axis, step) in cases {
        let sums = with_threads(1, dims, axis);
        close(dims, step, &sums);
        assert_eq!(sums, with_threads(3, dims, axis), "{dims:?}");
        on_cuda(|device| {
            let x = Tensor::from_slice(&x, dims, device).unwrap();
            close(dims, step, &x.sum(axis, false).unwrap().to_vec::<f32>().unwrap());
        });
    }
}

#[test]
fn empty_axes_and_scalars_behave() {
    on_every_device(|device| {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, device).unwrap();
        assert_eq!(zeros(&[2, 0]).sum(1, false).unwrap().to_vec::<f32>().unwrap(), [0.0, 0.0]);
        assert_eq!(zeros(&[0, 2]).sum(0, false).unwrap().to_vec::<f32>().unwrap(), [0.0, 0.0]);
        assert_eq!(zeros(&[2, 0]).sum(0, true).unwrap().dims(), [1, 0]);
        assert!(zeros(&[0]).mean_all().unwrap().item().unwrap().is_nan());
        assert_eq!(zeros(&[]).sum_all().unwrap().item().unwrap(), 0.0);
        let error = zeros(&[]).sum(0, false).unwrap_err().to_string();
        assert_eq!(error, "sum: expected an axis of shape [], found 0");
    });
    let ids = Tensor::zeros(&[2], DType::U32, Device::Cpu).unwrap();
    let error = ids.mean_all().unwrap_err().to_string();
    assert_eq!(error, "mean: input: expected a float dtype, found u32");
}
