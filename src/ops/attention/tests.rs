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

/// Of every query the first key, by a rule that hides whole tiles in the middle or at the left.
fn first_keys(rule: &str, [batch, time]: [usize; 2]) -> Tensor {
    let first = |row: usize, i: usize| match rule {
        "packed" => [0, 3, 60, 61].into_iter().filter(|&start| start <= i).max().unwrap_or(0),
        "padded" => i.min(17 * (row + 1)),
        "window" => i.saturating_sub(19),
        _ => 0,
    };
    let keys: Vec<u32> = (0..batch * time).map(|at| first(at / time, at % time) as u32).collect();
    Tensor::from_slice(&keys, &[batch, time], Device::Cpu).unwrap()
}

#[test]
fn a_card_agrees_with_the_cpu() {
    // Sizes are [batch, time, heads, head_dim]: below, on and above a tile, and a kernel of each
    // size of heads; 64 and 128 in 16 bits go to tensor cores.
    for (sizes, rule, alibi, share) in [
        ([2, 1, 2, 1], "causal", false, 0.0),
        ([1, 2, 3, 8], "causal", true, 0.5),
        ([2, 65, 2, 13], "packed", false, 0.3),
        ([1, 65, 1, 60], "window", true, 0.0),
        ([2, 65, 3, 64], "padded", true, 0.0),
        ([1, 128, 1, 64], "packed", false, 0.3),
        ([1, 67, 1, 80], "packed", false, 0.0),
        ([1, 130, 1, 128], "window", false, 0.2),
        ([1, 65, 1, 256], "padded", true, 0.1),
    ] {
        let [batch, time, heads, head_dim] = sizes;
        let qkv = normal(&[batch, time, 3, heads, head_dim], 5);
        let first_key = first_keys(rule, [batch, time]);
        let rng = Rng { seed: 3, attempt: 7, first_sample: 5 };
        let dropout = (share > 0.0).then(|| Dropout::new(share, rng, 2).unwrap());
        let options = Attention { scale: natural_scale(&qkv), alibi, dropout };
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let what = format!("{sizes:?} {rule}");
            agree(&what, std::slice::from_ref(&qkv), dtype, tolerance(dtype), &|x| {
                x[0].attention(&first_key.to_device(x[0].device())?, options)
            });
        }
    }
}

/// Decodes [batch, 300, 3, heads, head_dim] piece by piece and compares with attention at once.
fn check_cached(dims: [usize; 5], dtype: DType, rule: &str, alibi: bool, device: Device) {
    let [batch, time, _, heads, head_dim] = dims;
    let options = Attention { alibi, ..attention(0.4) };
    let (qkv, first_key) = (some_qkv(&dims).cast(dtype).unwrap(), first_keys(rule, [batch, time]));
    let whole = qkv.attention(&first_key, options).unwrap().read().unwrap().into_owned();
    let sizes = [batch, heads, time + 10, head_dim];
    let mut cache = KeyValues::new(sizes, dtype, device).unwrap();
    let part = |x: &[f32], width: usize, at: std::ops::Range<usize>| -> Vec<f32> {
        let rows = x.chunks_exact(time * width);
        rows.flat_map(|row| &row[at.start * width..at.end * width]).copied().collect()
    };
    let (all, keys) = (qkv.read().unwrap(), first_key.slice::<u32>().unwrap());
    // A prompt, then single tokens, then a few at once.
    for at in [0..time - 10, time - 10..time - 9, time - 9..time - 8, time - 8..time] {
        let new = part(&all, 3 * heads * head_dim, at.clone());
        let new = Tensor::from_slice(&new, &[batch, at.len(), 3, heads, head_dim], Device::Cpu);
        let new = new.unwrap().cast(dtype).unwrap().to_device(device).unwrap();
        let keys: Vec<u32> =
            keys.chunks_exact(time).flat_map(|row| &row[at.clone()]).copied().collect();
        let first_key = Tensor::from_slice(&keys, &[batch, at.len()], device).unwrap();
        let y = new.cached_attention(&mut cache, &first_key, options).unwrap();
        let expected = part(&whole, heads * head_dim, at.clone());
        let expected = Tensor::from_slice(&expected, y.dims(), Device::Cpu).unwrap();
        let at_most = if dtype == DType::F32 { ELEMENTWISE } else { tolerance(dtype) };
        let what = format!("{at:?} of {dims:?} {rule} in {dtype} on {device}");
        assert_close(&what, &y.to_device(Device::Cpu).unwrap(), &expected, at_most);
    }
    assert_eq!(cache.len(), time);
    let more = Tensor::zeros(&dims, dtype, device).unwrap();
    let first_key = first_key.to_device(device).unwrap();
    let error = more.cached_attention(&mut cache, &first_key, options).unwrap_err();
    assert!(error.to_string().contains("at most 10"), "{error}");
}

#[test]
fn cached_equals_uncached() {
    on_every_device(|device| {
        check_cached([1, 300, 3, 2, 9], DType::F32, "causal", false, device);
        check_cached([2, 90, 3, 3, 64], DType::F16, "padded", true, device);
        check_cached([1, 150, 3, 1, 128], DType::BF16, "window", false, device);
        check_cached([1, 75, 3, 1, 200], DType::F32, "packed", true, device);
    });
}

#[test]
fn decoding_has_no_dropout() {
    let dropout = Some(Dropout::new(0.3, Rng::new(4), 7).unwrap());
    let options = Attention { dropout, ..attention(0.5) };
    let qkv = some_qkv(&[1, 2, 3, 1, 4]);
    let error = qkv.attention_probs(&causal(1, 2), options).unwrap_err();
    assert!(error.to_string().contains("dropout: expected none"), "{error}");
    let mut cache = KeyValues::new([1, 1, 2, 4], DType::F32, Device::Cpu).unwrap();
    let error = qkv.cached_attention(&mut cache, &causal(1, 2), options).unwrap_err();
    assert!(error.to_string().contains("dropout: expected none"), "{error}");
    assert_eq!(cache.len(), 0);
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
fn a_query_that_may_not_read_itself_is_refused_or_nan() {
    let first_key = Tensor::from_slice(&[0u32, 2], &[1, 2], Device::Cpu).unwrap();
    let error = some_qkv(&[1, 2, 3, 1, 4]).attention(&first_key, attention(1.0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "attention: first_key: expected at most its query's place, 1, found 2"
    );
    // A card is not waited for to see its numbers.
    on_cuda(|device| {
        let first_key = first_key.to_device(device).unwrap();
        let qkv = some_qkv(&[1, 2, 3, 1, 4]).to_device(device).unwrap();
        let y = qkv.attention(&first_key, attention(1.0)).unwrap().to_vec::<f32>().unwrap();
        assert!(y[..4].iter().all(|y| y.is_finite()) && y[4..].iter().all(|y| y.is_nan()), "{y:?}");
    });
}
