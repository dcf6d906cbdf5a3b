use super::{CrossEntropy, IGNORE};
use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Gradients, Group, Layout, Tensor, backward};

/// The loss and both gradients of a case, with its rows in chunks of `chunk`.
fn run(golden: &Golden, case: &str, chunk: usize, device: Device) -> [Tensor; 3] {
    let key = |name: &str| golden.tensor(&format!("{case}/{name}"));
    let mut layout = Layout::new();
    let ids = ["hidden", "weight"].map(|name| layout.add(name, key(name).dims(), Group::Decay));
    let ids = ids.map(|id| id.unwrap());
    let mut params = layout.build(DType::F32, device).unwrap();
    for (id, name) in ids.iter().zip(["hidden", "weight"]) {
        params.set(*id, &key(name).read().unwrap()).unwrap();
    }
    let mut grads = Gradients::new(&params).unwrap();
    let targets = key("targets");
    let counted = targets.slice::<u32>().unwrap().iter().filter(|&&t| t != IGNORE).count();
    let [hidden, weight] = ids.map(|id| params.get(id));
    let options = CrossEntropy { targets: counted, chunk };
    let targets = targets.to_device(device).unwrap();
    // First over what an earlier step has left, which no chunk may add to; then the other half, which
    // every chunk adds.
    let mut value = None;
    for (clears, share) in [(false, 3.0), (true, 0.5), (false, 0.5)] {
        if clears {
            grads.clear();
        }
        let loss = hidden.linear_cross_entropy(&weight, &targets, options).unwrap();
        value = Some(loss.detach());
        backward(loss, Tensor::scalar(share, device).unwrap(), &mut grads).unwrap();
    }
    [value.unwrap(), grads.get(ids[0]).unwrap(), grads.get(ids[1]).unwrap()]
}

#[test]
fn equals_pytorch_in_any_chunks() {
    let golden = Golden::open("cross_entropy");
    on_every_device(|device| {
        for case in golden.cases() {
            for chunk in [1, 4, 1000] {
                let found = run(&golden, &case, chunk, device);
                for (name, found) in ["loss", "dhidden", "dweight"].iter().zip(found) {
                    let expected = golden.tensor(&format!("{case}/{name}"));
                    let expected = expected.reshape(found.dims()).unwrap();
                    let what = format!("{case}/{name} by {chunk} on {device}");
                    assert_close(&what, &found, &expected, SUMS);
                }
            }
        }
    });
}

#[test]
fn a_card_agrees_on_any_vocabulary_in_any_storage() {
    // Rows of odd lengths begin anywhere between two packs.
    for (rows, width, vocab) in
        [(1, 3, 1), (2, 3, 5), (9, 3, 31), (9, 5, 33), (4, 8, 769), (2, 2, 50257)]
    {
        let inputs = [normal(&[rows, width], 1), normal(&[vocab, width], 2)];
        let ids: Vec<u32> = (0..rows as u32).map(|i| (i * 7919 + 1) % vocab as u32).collect();
        let mut targets = Tensor::from_slice(&ids, &[rows], Device::Cpu).unwrap();
        if rows > 4 {
            let ids: Vec<u32> =
                (0..rows).map(|i| if i % 4 == 1 { IGNORE } else { ids[i] }).collect();
            targets = Tensor::from_slice(&ids, &[rows], Device::Cpu).unwrap();
        }
        let options = CrossEntropy { targets: rows, chunk: 4 };
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let what = format!("{rows} rows of {vocab}");
            agree(&what, &inputs, dtype, tolerance(dtype), &|x| {
                let targets = targets.to_device(x[0].device())?;
                x[0].linear_cross_entropy(&x[1], &targets, options)
            });
        }
    }
}

#[test]
fn an_evaluation_does_not_round_its_logits() {
    // In bf16 the logits 256 and 257 are one number, and the loss is ln 2 instead of ln(1 + 1/e).
    let hidden = Tensor::full(1.0, &[1, 2], DType::BF16, Device::Cpu).unwrap();
    let weight = Tensor::from_slice(&[256.0f32, 1.0, 256.0, 0.0], &[2, 2], Device::Cpu).unwrap();
    let weight = weight.cast(DType::BF16).unwrap();
    let options = CrossEntropy { targets: 1, chunk: 1 };
    on_every_device(|device| {
        let [hidden, weight] = [&hidden, &weight].map(|x| x.to_device(device).unwrap());
        let target = Tensor::from_slice(&[0u32], &[1], device).unwrap();
        let loss = hidden.linear_cross_entropy(&weight, &target, options).unwrap();
        let (loss, expected) = (loss.item().unwrap(), (-1.0f32).exp().ln_1p());
        assert!((loss - expected).abs() < 1e-5, "{loss} for {expected} on {device}");
    });
}

#[test]
fn infinite_logits_are_no_trouble_and_large_ones_neither() {
    let hidden = Tensor::from_slice(&[1.0f32], &[1, 1], Device::Cpu).unwrap();
    for weights in [[f32::NEG_INFINITY, 1.0, 0.0], [3e38, 2.9e38, -3e38], [-3e38; 3]] {
        let weight = Tensor::from_slice(&weights, &[3, 1], Device::Cpu).unwrap();
        let top = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = weights.iter().map(|w| (w - top).exp()).sum();
        let expected = sum.ln() + (top - weights[1]);
        on_every_device(|device| {
            let [hidden, weight] = [&hidden, &weight].map(|x| x.to_device(device).unwrap());
            let target = Tensor::from_slice(&[1u32], &[1], device).unwrap();
            let options = CrossEntropy { targets: 1, chunk: 1 };
            let loss = hidden.linear_cross_entropy(&weight, &target, options).unwrap();
            let loss = loss.item().unwrap();
            let close = (loss - expected).abs() <= 1e-6 * expected.abs() + 1e-5;
            assert!(close, "{loss} for {expected} of {weights:?} on {device}");
        });
    }
}

#[test]
fn on_a_card_a_target_beyond_the_vocabulary_gives_no_number() {
    let inputs = [normal(&[2, 3], 1), normal(&[8, 3], 2)];
    on_cuda(|device| {
        let [hidden, weight] = inputs.each_ref().map(|x| x.to_device(device).unwrap());
        let targets = Tensor::from_slice(&[1u32, 8], &[2], device).unwrap();
        let options = CrossEntropy { targets: 2, chunk: 2 };
        let loss = hidden.linear_cross_entropy(&weight, &targets, options).unwrap();
        assert!(loss.item().unwrap().is_nan());
    });
}

#[test]
fn gradients_equal_finite_differences() {
    let golden = Golden::open("cross_entropy");
    let values = ["hidden", "weight"].map(|name| golden.tensor(&format!("all/{name}")));
    let targets = golden.tensor("all/targets");
    let options = CrossEntropy { targets: targets.numel(), chunk: 3 };
    let dy = Tensor::scalar(1.0, Device::Cpu).unwrap();
    check_finite_differences("linear_cross_entropy", &values, &dy, &|x| {
        x[0].linear_cross_entropy(&x[1], &targets, options)
    });
}

#[test]
fn a_target_beyond_the_vocabulary_is_named() {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, Device::Cpu).unwrap();
    let targets = Tensor::from_slice(&[1u32, 8], &[2], Device::Cpu).unwrap();
    let options = CrossEntropy { targets: 2, chunk: 2 };
    let loss = zeros(&[2, 3]).linear_cross_entropy(&zeros(&[8, 3]), &targets, options);
    assert_eq!(
        loss.unwrap_err().to_string(),
        "linear_cross_entropy: target: expected below the vocabulary's 8, found 8"
    );
}
