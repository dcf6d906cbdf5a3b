use super::{Attention, KeyValues};
use crate::DType;
use crate::ops::dropout::Dropout;
use crate::ops::testing::*;
use crate::random::Rng;
use crate::tensor::{Device, Tensor};

fn attention(scale: f32) -> Attention {
    Attention { scale, alibi: false, dropout: None }
}

fn natural_scale(qkv: &Tensor) -> f32 {
    1.0 / (qkv.dims()[4] as f32).sqrt()
}

#[test]
fn equals_pytorch() {
    for (family, cases) in [
        ("attention", &["one", "odd", "padded", "window", "unscaled"][..]),
        ("attention_long", &["long"]),
        ("attention_packed", &["packed"]),
        ("attention_alibi", &["alibi"]),
    ] {
        let golden = Golden::open(family);
        for &case in cases {
            let first_key = golden.tensor(&format!("{case}/first_key"));
            check_case(&golden, case, &["qkv"], SUMS, &|x| {
                let scale = if case == "unscaled" { 1.0 } else { natural_scale(&x[0]) };
                let options = Attention { alibi: case == "alibi", ..attention(scale) };
                x[0].attention(&first_key.to_device(x[0].device())?, options)
            });
        }
    }
}

#[test]
fn probabilities_equal_pytorch() {
    let cases =
        [("attention", "odd"), ("attention_packed", "packed"), ("attention_alibi", "alibi")];
    for (family, case) in cases {
        let golden = Golden::open(family);
        let key = |name: &str| golden.tensor(&format!("{case}/{name}"));
        on_every_device(|device| {
            let [qkv, first_key] =
                ["qkv", "first_key"].map(|name| key(name).to_device(device).unwrap());
            let options = Attention { alibi: case == "alibi", ..attention(natural_scale(&qkv)) };
            let probs = qkv.attention_probs(&first_key, options).unwrap();
            assert_close(&format!("{case} on {device}"), &probs, &key("probs"), ELEMENTWISE);
        });
    }
}

/// Some numbers, the same each time, for [batch, time, 3, heads, head_dim].
fn some_qkv(dims: &[usize]) -> Tensor {
    let rng = Rng::new(11);
    let n: usize = dims.iter().product();
    let value = |i: u64| crate::random::uniform(rng.words(rng.key(0), i)[0]) * 4.0 - 2.0;
    let values: Vec<f32> = (0..n as u64).map(value).collect();
    Tensor::from_slice(&values, dims, Device::Cpu).unwrap()
}

fn causal(batch: usize, time: usize) -> Tensor {
    Tensor::zeros(&[batch, time], DType::U32, Device::Cpu).unwrap()
}

/// Positions `at` of a packed [1, time, 3, heads, head_dim].
fn part(qkv: &Tensor, at: std::ops::Range<usize>) -> Tensor {
    let per_position: usize = qkv.dims()[2..].iter().product();
    let values = &qkv.slice::<f32>().unwrap()[at.start * per_position..at.end * per_position];
    let dims = [&[1, at.len()], &qkv.dims()[2..]].concat();
    Tensor::from_slice(values, &dims, Device::Cpu).unwrap()
}

#[test]
fn cached_equals_uncached() {
    let qkv = some_qkv(&[1, 300, 3, 2, 9]);
    let whole = qkv.attention(&causal(1, 300), attention(0.4)).unwrap();
    let mut cache = KeyValues::new([1, 2, 310, 9], DType::F32, Device::Cpu).unwrap();
    // A prompt, then single tokens, then a few at once.
    for at in [0..290, 290..291, 291..292, 292..300] {
        let first_key = causal(1, at.len());
        let y = part(&qkv, at.clone())
            .cached_attention(&mut cache, &first_key, attention(0.4))
            .unwrap();
        let expected = &whole.slice::<f32>().unwrap()[at.start * 18..at.end * 18];
        let expected = Tensor::from_slice(expected, y.dims(), Device::Cpu).unwrap();
        assert_close(&format!("{at:?}"), &y, &expected, ELEMENTWISE);
    }
    assert_eq!(cache.len(), 300);
    let error = qkv.cached_attention(&mut cache, &causal(1, 300), attention(0.4)).unwrap_err();
    assert!(error.to_string().contains("at most 10"), "{error}");
}

#[test]
fn dropout_scales_what_it_keeps_and_its_gradient_fits() {
    let qkv = some_qkv(&[2, 70, 3, 2, 5]);
    let dropout = Some(Dropout::new(0.3, Rng::new(4), 7).unwrap());
    let options = Attention { dropout, ..attention(0.5) };
    let dy = Tensor::full(0.1, &[2, 70, 10], DType::F32, Device::Cpu).unwrap();
    check_finite_differences("dropout", std::slice::from_ref(&qkv), &dy, &|x| {
        x[0].attention(&causal(2, 70), options)
    });
    let y = qkv.attention(&causal(2, 70), options).unwrap().to_vec::<f32>().unwrap();
    let plain = qkv.attention(&causal(2, 70), attention(0.5)).unwrap().to_vec::<f32>().unwrap();
    assert_ne!(y, plain);
    // Row 1 alone, as the second sample of the effective batch, draws the same mask.
    let rows: Vec<f32> = qkv.slice::<f32>().unwrap()[70 * 30..].to_vec();
    let row = Tensor::from_slice(&rows, &[1, 70, 3, 2, 5], Device::Cpu).unwrap();
    let later = Rng { first_sample: 1, ..Rng::new(4) };
    let dropout = Some(Dropout::new(0.3, later, 7).unwrap());
    let alone = row.attention(&causal(1, 70), Attention { dropout, ..attention(0.5) }).unwrap();
    assert_eq!(alone.to_vec::<f32>().unwrap(), y[700..]);
}

#[test]
fn a_query_that_may_not_read_itself_is_refused() {
    let first_key = Tensor::from_slice(&[0u32, 2], &[1, 2], Device::Cpu).unwrap();
    let error = some_qkv(&[1, 2, 3, 1, 4]).attention(&first_key, attention(1.0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "attention: first_key: expected at most its query's place, 1, found 2"
    );
}
