use crate::ops::testing::*;
use crate::tensor::{Device, Gradients, Group, Layout, Tensor, backward};

#[test]
fn equals_pytorch() {
    let golden = Golden::open("layer_norm");
    for case in ["odd", "one", "wide"] {
        check_case(&golden, case, &["x", "weight", "bias"], SUMS, &|x| {
            x[0].layer_norm(&x[1], &x[2], 1e-5)
        });
    }
}

#[test]
fn residual_equals_pytorch() {
    let golden = Golden::open("layer_norm");
    let key = |name: &str| golden.tensor(&format!("residual/{name}"));
    let names = ["x", "delta", "weight", "bias"];
    let mut layout = Layout::new();
    let ids = names.map(|name| layout.add(name, key(name).dims(), Group::Decay).unwrap());
    let mut params = layout.build(crate::DType::F32, Device::Cpu).unwrap();
    for (id, name) in ids.iter().zip(names) {
        params.set(*id, &key(name).read().unwrap()).unwrap();
    }
    let mut grads = Gradients::new(&params).unwrap();
    let [x, delta, weight, bias] = ids.map(|id| params.get(id));
    let (sum, y) = x.residual_layer_norm(&delta, &weight, &bias, 1e-5).unwrap();
    assert_close("sum", &sum, &key("sum"), ELEMENTWISE);
    assert_close("y", &y, &key("y"), SUMS);
    // Both outputs receive a gradient, as a residual stream does: through sum·dsum + y·dy.
    let loss = sum.mul(&key("dsum")).unwrap().sum_all().unwrap();
    let loss = loss.add(&y.mul(&key("dy")).unwrap().sum_all().unwrap()).unwrap();
    drop((sum, y));
    backward(loss, Tensor::scalar(1.0, Device::Cpu).unwrap(), &mut grads).unwrap();
    for (id, name) in ids.iter().zip(names) {
        assert_close(name, &grads.get(*id).unwrap(), &key(&format!("d{name}")), SUMS);
    }
}

#[test]
fn a_large_mean_does_not_cancel_the_variance() {
    let x = Tensor::from_slice(&[1e4f32, 1e4 + 1.0, 1e4 + 2.0], &[1, 3], Device::Cpu).unwrap();
    let one = Tensor::full(1.0, &[3], x.dtype(), Device::Cpu).unwrap();
    let zero = Tensor::zeros(&[3], x.dtype(), Device::Cpu).unwrap();
    let y = x.layer_norm(&one, &zero, 0.0).unwrap().to_vec::<f32>().unwrap();
    assert!((y[2] - 1.5f32.sqrt()).abs() < 1e-5, "{y:?}");
}
