use crate::DType;
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
    on_every_device(|device| {
        let mut layout = Layout::new();
        let ids = names.map(|name| layout.add(name, key(name).dims(), Group::Decay).unwrap());
        let mut params = layout.build(DType::F32, device).unwrap();
        for (id, name) in ids.iter().zip(names) {
            params.set(*id, &key(name).read().unwrap()).unwrap();
        }
        let mut grads = Gradients::new(&params).unwrap();
        let [x, delta, weight, bias] = ids.map(|id| params.get(id));
        let (sum, y) = x.residual_layer_norm(&delta, &weight, &bias, 1e-5).unwrap();
        assert_close("sum", &sum, &key("sum"), ELEMENTWISE);
        assert_close("y", &y, &key("y"), SUMS);
        // Both outputs receive a gradient, as a residual stream does: through sum·dsum + y·dy.
        let times = |x: &Tensor, grad: &str| x.mul(&key(grad).to_device(device).unwrap()).unwrap();
        let loss = times(&sum, "dsum").add(&times(&y, "dy")).unwrap().sum_all().unwrap();
        drop((sum, y));
        backward(loss, Tensor::scalar(1.0, device).unwrap(), &mut grads).unwrap();
        for (id, name) in ids.iter().zip(names) {
            assert_close(name, &grads.get(*id).unwrap(), &key(&format!("d{name}")), SUMS);
        }
    });
}

/// x, delta, weight and bias of this many rows, which have a mean.
fn rows(rows: usize, width: usize) -> [Tensor; 4] {
    let x = normal(&[rows, width], 1).add_scalar(3.0).unwrap();
    [x, normal(&[rows, width], 2), normal(&[width], 3), normal(&[width], 4)]
}

#[test]
fn kernels_agree_with_the_cpu_at_any_width() {
    // 4100 is too wide for registers; 769 and 50257 are aligned nowhere; 70 rows are three parts.
    for (n, width) in [(70, 1), (3, 31), (33, 33), (2, 768), (2, 769), (1, 4100), (1, 50257)] {
        let narrow = [DType::F16, DType::BF16].into_iter().filter(|_| width < 50257);
        for dtype in [DType::F32].into_iter().chain(narrow) {
            let [x, delta, weight, bias] = rows(n, width);
            let what = format!("layer_norm {n}x{width}");
            // The second use adds to the gradients of weight and bias.
            let inputs = [x.clone(), weight.clone(), bias.clone()];
            agree(&what, &inputs, dtype, tolerance(dtype), &|t| {
                t[0].layer_norm(&t[1], &t[2], 1e-5)?.layer_norm(&t[1], &t[2], 1e-5)
            });
            let inputs = [x, delta, weight, bias];
            agree(&format!("residual {what}"), &inputs, dtype, tolerance(dtype), &|t| {
                Ok(t[0].residual_layer_norm(&t[1], &t[2], &t[3], 1e-5)?.1)
            });
        }
    }
}

#[test]
fn rows_in_f32_are_normalised_into_16_bits() {
    for dtype in [DType::F16, DType::BF16] {
        for width in [33, 128] {
            let [x, delta, weight, bias] = rows(5, width);
            let inputs = [x.clone(), weight.clone(), bias.clone()];
            agree("f32 rows", &inputs, dtype, tolerance(dtype), &|t| {
                let y = t[0].cast(DType::F32)?.layer_norm(&t[1], &t[2], 1e-5)?;
                assert_eq!(y.dtype(), dtype);
                Ok(y)
            });
            let inputs = [x, delta, weight, bias];
            for delta_dtype in [DType::F32, dtype] {
                for x_dtype in [DType::F32, dtype] {
                    agree("mixed sum", &inputs, dtype, tolerance(dtype), &|t| {
                        let (x, delta) = (t[0].cast(x_dtype)?, t[1].cast(delta_dtype)?);
                        let (sum, y) = x.residual_layer_norm(&delta, &t[2], &t[3], 1e-5)?;
                        assert_eq!((sum.dtype(), y.dtype()), (x_dtype, dtype));
                        Ok(y)
                    });
                }
            }
        }
    }
}

#[test]
fn a_gradient_has_the_dtype_of_its_own_tensor() {
    on_every_device(|device| {
        let mut layout = Layout::new();
        let names = ["x", "delta", "weight", "bias"];
        let dims: [&[usize]; 4] = [&[2, 4], &[2, 4], &[4], &[4]];
        let ids = [0, 1, 2, 3].map(|i| layout.add(names[i], dims[i], Group::Decay).unwrap());
        let mut params = layout.build(DType::F16, device).unwrap();
        for (id, values) in ids.iter().zip(rows(2, 4)) {
            params.set(*id, &values.read().unwrap()).unwrap();
        }
        let mut grads = Gradients::new(&params).unwrap();
        let [x, delta, weight, bias] = ids.map(|id| params.get(id));
        let x = x.cast(DType::F32).unwrap();
        let (sum, y) = x.residual_layer_norm(&delta, &weight, &bias, 1e-5).unwrap();
        assert_eq!((sum.dtype(), y.dtype()), (DType::F32, DType::F16));
        drop(sum);
        let dy = Tensor::full(1.0, &[2, 4], DType::F16, device).unwrap();
        backward(y, dy, &mut grads).unwrap();
        assert_eq!(grads.get(ids[3]).unwrap().to_vec::<f32>().unwrap(), [2.0; 4]);
    });
}

#[test]
fn what_is_normalised_is_the_sum_as_it_is_stored() {
    on_every_device(|device| {
        for dtype in [DType::F16, DType::BF16] {
            let tensor = |values: &[f32], dims: &[usize]| {
                let x = Tensor::from_slice(values, dims, Device::Cpu).unwrap();
                x.cast(dtype).unwrap().to_device(device).unwrap()
            };
            let (x, delta) =
                (tensor(&[1.0; 4], &[1, 4]), tensor(&[0.0, 1e-4, 2e-4, -1e-4], &[1, 4]));
            let (weight, bias) = (tensor(&[1.0; 4], &[4]), tensor(&[0.5; 4], &[4]));
            // To 16 bits the terms of delta are nothing, and equal numbers are all 0 when normalised.
            let (sum, y) = x.residual_layer_norm(&delta, &weight, &bias, 1e-12).unwrap();
            assert_eq!(sum.read().unwrap()[..], [1.0; 4]);
            assert_eq!(y.read().unwrap()[..], [0.5; 4]);
        }
    });
}

#[test]
fn storage_that_no_kernel_has_is_refused() {
    let zeros = |dims: &[usize], dtype| Tensor::zeros(dims, dtype, Device::Cpu).unwrap();
    let (half, single) = (zeros(&[3], DType::F16), zeros(&[3], DType::F32));
    let x = |dtype| zeros(&[2, 3], dtype);
    let error = x(DType::BF16).layer_norm(&half, &half, 1e-5).unwrap_err().to_string();
    assert_eq!(error, "layer_norm: input: expected f32 or f16, as its weight has, found bf16");
    let error = x(DType::F32).layer_norm(&half, &single, 1e-5).unwrap_err().to_string();
    assert_eq!(error, "layer_norm: bias: expected f16, as its weight has, found f32");
    let delta = x(DType::BF16);
    let error = x(DType::F32).residual_layer_norm(&delta, &half, &half, 1e-5).unwrap_err();
    let expected = "residual_layer_norm: delta: expected f32 or f16, as its weight has, found bf16";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_large_mean_does_not_cancel_the_variance() {
    on_every_device(|device| {
        let x = Tensor::from_slice(&[1e4f32, 1e4 + 1.0, 1e4 + 2.0], &[1, 3], device).unwrap();
        let one = Tensor::full(1.0, &[3], x.dtype(), device).unwrap();
        let zero = Tensor::zeros(&[3], x.dtype(), device).unwrap();
        let y = x.layer_norm(&one, &zero, 0.0).unwrap().to_vec::<f32>().unwrap();
        assert!((y[2] - 1.5f32.sqrt()).abs() < 1e-5, "{y:?}");
    });
}
