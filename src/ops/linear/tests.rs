use super::Activation;
use crate::ops::testing::*;
use crate::tensor::{Device, Tensor};

#[test]
fn equals_pytorch() {
    let golden = Golden::open("linear");
    check_case(&golden, "plain", &["x", "weight"], SUMS, &|x| {
        x[0].linear(&x[1], None, Activation::Identity)
    });
    let cases = [
        ("bias", Activation::Identity),
        ("bias_gelu", Activation::GeluTanh),
        ("bias_gelu_erf", Activation::GeluErf),
    ];
    for (case, activation) in cases {
        check_case(&golden, case, &["x", "weight", "bias"], SUMS, &|x| {
            x[0].linear(&x[1], Some(&x[2]), activation)
        });
    }
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, crate::DType::F32, Device::Cpu).unwrap();
    let error = |x: &[usize], w: &[usize], b: &[usize]| {
        let (x, w, b) = (zeros(x), zeros(w), zeros(b));
        x.linear(&w, Some(&b), Activation::Identity).unwrap_err().to_string()
    };
    assert_eq!(
        error(&[2, 3], &[4, 5], &[4]),
        "linear: input: expected [..., 5] for weight [4, 5], found [2, 3]"
    );
    assert_eq!(error(&[2, 5], &[4, 5], &[5]), "linear: bias: expected shape [4], found [5]");
    assert_eq!(error(&[2, 5], &[4], &[4]), "linear: weight: expected [out, in], found [4]");
}
