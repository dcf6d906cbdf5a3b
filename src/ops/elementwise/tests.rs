use crate::error::Result;
use crate::ops::testing::*;
use crate::tensor::{Device, Tensor};
use crate::{DType, no_grad};

type Function = fn(&Tensor) -> Result<Tensor>;

const ANYWHERE: [(&str, Function); 14] = [
    ("neg", Tensor::neg),
    ("abs", Tensor::abs),
    ("exp", Tensor::exp),
    ("recip", Tensor::recip),
    ("square", Tensor::square),
    ("sin", Tensor::sin),
    ("cos", Tensor::cos),
    ("tanh", Tensor::tanh),
    ("sigmoid", Tensor::sigmoid),
    ("relu", Tensor::relu),
    ("silu", Tensor::silu),
    ("erf", Tensor::erf),
    ("gelu", Tensor::gelu),
    ("gelu_erf", Tensor::gelu_erf),
];

const POSITIVE: [(&str, Function); 3] =
    [("ln", Tensor::ln), ("sqrt", Tensor::sqrt), ("rsqrt", Tensor::rsqrt)];

#[test]
fn functions_equal_pytorch() {
    let golden = Golden::open("elementwise");
    for (name, function) in ANYWHERE.into_iter().chain(POSITIVE) {
        check_golden(&golden, name, &["x"], ELEMENTWISE, &|x| function(&x[0]));
    }
}

#[test]
fn slopes_equal_finite_differences_and_16_bit_storage_keeps_them() {
    let golden = Golden::open("elementwise");
    // Of either sign, away from the kinks at 0.
    let x = golden.tensor("recip/x");
    let dy = golden.tensor("recip/dy");
    let magnitudes = x.abs().unwrap();
    let cases = ANYWHERE.map(|f| (f, &x)).into_iter().chain(POSITIVE.map(|f| (f, &magnitudes)));
    for ((name, function), x) in cases {
        let forward = |x: &[Tensor]| function(&x[0]);
        check_finite_differences(name, std::slice::from_ref(x), &dy, &forward);
        check_storage(name, std::slice::from_ref(x), &dy, &forward);
    }
}

#[test]
fn functions_with_a_number_are_right() {
    let golden = Golden::open("elementwise");
    let exponent = golden.tensor("pow_scalar/b").item().unwrap();
    check_case(&golden, "pow_scalar", &["a"], ELEMENTWISE, &|x| x[0].pow_scalar(exponent));
    let (a, dy) = (golden.tensor("add_same/a"), golden.tensor("add_same/dy"));
    let affine = |x: &[Tensor]| x[0].mul_scalar(-2.5)?.add_scalar(0.75);
    let expected: Vec<f32> = a.read().unwrap().iter().map(|a| -2.5 * a + 0.75).collect();
    let expected = Tensor::from_slice(&expected, a.dims(), Device::Cpu).unwrap();
    let a = [a];
    assert_close("affine", &affine(&a).unwrap(), &expected, ELEMENTWISE);
    check_finite_differences("affine", &a, &dy, &affine);
    check_storage("affine", &a, &dy, &affine);
}

#[test]
fn every_size_is_filled_the_same_on_a_card() {
    for n in [1, 31, 33, 769, 50257] {
        let x = [normal(&[n], n as u64)];
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            agree(&format!("silu {n}"), &x, dtype, tolerance(dtype), &|x| x[0].silu());
        }
    }
}

#[test]
fn a_card_treats_zeros_infinities_and_nan_as_the_cpu_does() {
    let (inf, tiny) = (f32::INFINITY, f32::MIN_POSITIVE / 8.0);
    let x = [0.0, -0.0, 1.0, -1.0, tiny, -tiny, 88.0, -88.0, 3e38, -3e38, inf, -inf, f32::NAN];
    let seed = Tensor::full(1.0, &[x.len()], DType::F32, Device::Cpu).unwrap();
    let x = Tensor::from_slice(&x, &[x.len()], Device::Cpu).unwrap();
    let results = |device, function: Function| {
        let (y, grads) =
            run(std::slice::from_ref(&x), &seed, DType::F32, device, &|x| function(&x[0]));
        [y, grads[0].clone()].map(|tensor| tensor.read().unwrap().into_owned())
    };
    let power: (&str, Function) = ("pow_scalar", |x| x.pow_scalar(1.5));
    for (name, function) in ANYWHERE.into_iter().chain(POSITIVE).chain([power]) {
        let expected = results(Device::Cpu, function);
        on_cuda(|device| {
            let found = results(device, function);
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                let close = (found - expected).abs() <= 1e-5 + 1.3e-6 * expected.abs();
                let same = found == expected || (found.is_nan() && expected.is_nan());
                assert!(close || same, "{name}: {found} for {expected}");
            }
        });
    }
}

#[test]
fn the_slope_of_a_constant_power_is_zero_also_at_zero() {
    let zero = Tensor::zeros(&[1], DType::F32, Device::Cpu).unwrap();
    let dy = Tensor::full(1.0, &[1], DType::F32, Device::Cpu).unwrap();
    check_finite_differences("x⁰", &[zero], &dy, &|x| x[0].pow_scalar(0.0));
}

#[test]
fn every_size_is_filled() {
    // More at last than the emulated card has threads for at once.
    for n in [0, 1, 31, 33, 300_007] {
        on_every_device(|device| {
            let x = Tensor::full(3.0, &[n], DType::F32, device).unwrap();
            let y = no_grad(|| x.square()).unwrap().to_vec::<f32>().unwrap();
            assert!(y.len() == n && y.iter().all(|&y| y == 9.0), "{n} on {device}");
        });
    }
}

#[test]
fn ids_are_no_numbers() {
    let ids = Tensor::zeros(&[2], DType::U32, Device::Cpu).unwrap();
    let error = ids.gelu_erf().unwrap_err().to_string();
    assert_eq!(error, "gelu_erf: input: expected a float dtype, found u32");
}
