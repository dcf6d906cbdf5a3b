use super::Activation;
use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Tensor};

const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

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
fn a_card_agrees_on_any_size_in_any_storage() {
    // Rows by inputs by outputs: tails of warps, of packs, and of the parts that column sums are cut
    // into; rows that are aligned to packs and rows that are not.
    let sizes = [(1, 1, 1), (3, 31, 33), (33, 7, 769), (300, 3, 40), (1, 2, 50257), (5, 64, 512)];
    for (rows, inputs, outputs) in sizes {
        let inputs = [
            normal(&[rows, inputs], 1),
            normal(&[outputs, inputs], 2).mul_scalar(1.0 / (inputs as f32).sqrt()).unwrap(),
            normal(&[outputs], 3),
        ];
        for (dtype, activation) in FLOATS
            .into_iter()
            .zip([Activation::GeluErf, Activation::GeluTanh, Activation::GeluTanh])
            .chain(FLOATS.map(|dtype| (dtype, Activation::Identity)))
        {
            let what = format!("{rows} × {outputs}, {activation:?}");
            // A gradient of x is a sum of `outputs` terms of about 1.
            let terms = 1e-5 + 1.3e-6 * outputs as f32;
            let at =
                Tolerance { absolute: tolerance(dtype).absolute.max(terms), ..tolerance(dtype) };
            agree(&what, &inputs, dtype, at, &|x| x[0].linear(&x[1], Some(&x[2]), activation));
        }
    }
}

#[test]
fn gelu_needs_no_bias() {
    let inputs = [normal(&[5, 9], 1), normal(&[33, 9], 2)];
    for dtype in FLOATS {
        agree("without bias", &inputs, dtype, tolerance(dtype), &|x| {
            x[0].linear(&x[1], None, Activation::GeluTanh)
        });
    }
}

#[test]
fn logits_of_16_bit_factors_keep_f32() {
    for dtype in FLOATS {
        let factors = [normal(&[4, 33], 1), normal(&[9, 33], 2)].map(|x| x.cast(dtype).unwrap());
        let wide = factors.clone().map(|x| x.cast(DType::F32).unwrap());
        let expected = wide[0].linear(&wide[1], None, Activation::Identity).unwrap();
        on_every_device(|device| {
            let [x, w] = factors.each_ref().map(|x| x.to_device(device).unwrap());
            let logits = x.linear_f32(&w).unwrap();
            assert_eq!(logits.dtype(), DType::F32);
            assert_close(&format!("logits of {dtype}"), &logits, &expected, SUMS);
        });
        agree("linear_f32", &factors, dtype, tolerance(dtype), &|x| x[0].linear_f32(&x[1]));
    }
}

#[test]
fn one_type_is_stored() {
    let [x, w] = [DType::F16, DType::F32].map(|t| Tensor::zeros(&[2, 2], t, Device::Cpu).unwrap());
    let error = x.linear(&w, None, Activation::Identity).unwrap_err().to_string();
    assert_eq!(error, "linear: weight: expected f16, the input's, found f32");
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
