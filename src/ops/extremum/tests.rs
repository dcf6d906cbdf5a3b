use crate::DType;
use crate::ops::testing::*;
use crate::tensor::Tensor;

#[test]
fn equals_pytorch() {
    let golden = Golden::open("reduce");
    for axis in 0..3 {
        check_case(&golden, &format!("max_{axis}"), &["x"], ELEMENTWISE, &|x| {
            x[0].max(axis, false)
        });
        check_case(&golden, &format!("min_{axis}"), &["x"], ELEMENTWISE, &|x| {
            x[0].min(axis, false)
        });
        let x = golden.inputs("max_0", &["x"]);
        let dy = golden.tensor(&format!("max_{axis}/dy")).unsqueeze(axis).unwrap();
        check_storage("max", &x, &dy, &|x| x[0].max(axis, true));
    }
    on_every_device(|device| {
        let places = golden.tensor("argmax_last/x").to_device(device).unwrap().argmax(2).unwrap();
        assert_eq!(places.dims(), golden.tensor("argmax_last/y").dims());
        let expected = golden.tensor("argmax_last/y").to_vec::<u32>().unwrap();
        assert_eq!(places.to_vec::<u32>().unwrap(), expected);
    });
}

#[test]
fn the_first_of_equals_is_taken_along_any_axis() {
    let x = [1.0f32, 5.0, 5.0, 0.0, 0.0, 5.0];
    on_every_device(|device| {
        let x = Tensor::from_slice(&x, &[2, 3], device).unwrap();
        let places = |places: Tensor| places.to_vec::<u32>().unwrap();
        assert_eq!(places(x.argmax(1).unwrap()), [1, 2]);
        assert_eq!(places(x.argmin(1).unwrap()), [0, 0]);
        assert_eq!(places(x.argmax(0).unwrap()), [0, 0, 0]);
        assert_eq!(places(x.argmin(0).unwrap()), [1, 1, 0]);
        assert_eq!(x.max_all().unwrap().item().unwrap(), 5.0);
        assert_eq!(x.min_all().unwrap().item().unwrap(), 0.0);
    });
}

#[test]
fn nan_is_found() {
    on_every_device(|device| {
        let x = Tensor::from_slice(&[2.0f32, f32::NAN, f32::INFINITY, f32::NAN], &[4], device);
        let x = x.unwrap();
        assert_eq!(x.argmax(0).unwrap().to_vec::<u32>().unwrap(), [1]);
        assert_eq!(x.argmin(0).unwrap().to_vec::<u32>().unwrap(), [1]);
    });
}

#[test]
fn kernels_agree_with_the_cpu_along_any_axis() {
    let cases: [(&[usize], usize); 7] = [
        (&[1], 0),
        (&[5, 31], 1),
        (&[33, 2], 0),
        (&[2, 5, 769], 1),
        (&[2, 300, 40], 1),
        (&[769], 0),
        (&[50257], 0),
    ];
    for (dims, axis) in cases {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            // In 16 bits many are equal.
            let x = normal(dims, 8).cast(dtype).unwrap();
            let places = |x: &Tensor| {
                [x.argmax(axis), x.argmin(axis)].map(|y| y.unwrap().to_vec::<u32>().unwrap())
            };
            on_cuda(|device| {
                let found = places(&x.to_device(device).unwrap());
                assert_eq!(found, places(&x), "{dims:?} in {dtype}");
            });
        }
    }
}

#[test]
fn nothing_has_no_extremum() {
    on_every_device(|device| {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, device).unwrap();
        let error = zeros(&[2, 0]).max(1, false).unwrap_err().to_string();
        assert_eq!(error, "max: expected at least one element along axis 1, found shape [2, 0]");
        assert_eq!(zeros(&[0, 2]).argmin(1).unwrap().dims(), [0]);
        let error = zeros(&[2]).argmax(1).unwrap_err().to_string();
        assert_eq!(error, "argmax: expected an axis of shape [2], found 1");
    });
}
