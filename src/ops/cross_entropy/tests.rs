use super::{CrossEntropy, IGNORE};
use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Gradients, Group, Layout, Tensor, backward};

/// The loss and both gradients of a case, with its rows in chunks of `chunk`.
fn run(golden: &Golden, case: &str, chunk: usize) -> [Tensor; 3] {
    let key = |name: &str| golden.tensor(&format!("{case}/{name}"));
    let mut layout = Layout::new();
    let ids = ["hidden", "weight"].map(|name| layout.add(name, key(name).dims(), Group::Decay));
    let ids = ids.map(|id| id.unwrap());
    let mut params = layout.build(DType::F32, Device::Cpu).unwrap();
    for (id, name) in ids.iter().zip(["hidden", "weight"]) {
        params.set(*id, &key(name).read().unwrap()).unwrap();
    }
    let mut grads = Gradients::new(&params).unwrap();
    let targets = key("targets");
    let counted = targets.slice::<u32>().unwrap().iter().filter(|&&t| t != IGNORE).count();
    let [hidden, weight] = ids.map(|id| params.get(id));
    let options = CrossEntropy { targets: counted, chunk };
    let loss = hidden.linear_cross_entropy(&weight, &targets, options).unwrap();
    let value = loss.detach();
    backward(loss, Tensor::scalar(1.0, Device::Cpu).unwrap(), &mut grads).unwrap();
    [value, grads.get(ids[0]).unwrap(), grads.get(ids[1]).unwrap()]
}

#[test]
fn equals_pytorch_in_any_chunks() {
    let golden = Golden::open("cross_entropy");
    for case in golden.cases() {
        for chunk in [1, 4, 1000] {
            let found = run(&golden, &case, chunk);
            for (name, found) in ["loss", "dhidden", "dweight"].iter().zip(found) {
                let expected = golden.tensor(&format!("{case}/{name}"));
                let expected = expected.reshape(found.dims()).unwrap();
                assert_close(&format!("{case}/{name} by {chunk}"), &found, &expected, SUMS);
            }
        }
    }
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
