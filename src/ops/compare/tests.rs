use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Tensor};

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, &[values.len()], Device::Cpu).unwrap()
}

#[test]
fn comparisons_hold_for_numbers_and_not_for_nan() {
    on_every_device(|device| {
        let on = |x: &[f32]| Tensor::from_slice(x, &[x.len()], device).unwrap();
        let (a, b) = (on(&[1.0, 2.0, 3.0, f32::NAN, 0.0]), on(&[2.0, 2.0, 2.0, f32::NAN, -0.0]));
        let said = |y: crate::Result<Tensor>| y.unwrap().to_vec::<u32>().unwrap();
        assert_eq!(said(a.eq(&b)), [0, 1, 0, 0, 1]);
        assert_eq!(said(a.ne(&b)), [1, 0, 1, 1, 0]);
        assert_eq!(said(a.lt(&b)), [1, 0, 0, 0, 0]);
        assert_eq!(said(a.le(&b)), [1, 1, 0, 0, 1]);
        assert_eq!(said(a.gt(&b)), [0, 0, 1, 0, 0]);
        assert_eq!(said(a.ge(&b)), [0, 1, 1, 0, 1]);
    });
}

#[test]
fn a_card_compares_and_chooses_as_the_cpu_does() {
    // Rows of every size, against a row, a column and one number.
    for (rows, n) in [(1, 1), (3, 31), (2, 33), (5, 769), (1, 50257)] {
        let (a, b) = (normal(&[rows, n], 1), normal(&[n], 2));
        let outcomes = |device: Device, dtype: DType| -> Vec<Vec<u32>> {
            let on = |x: &Tensor| x.to_device(device).unwrap().cast(dtype).unwrap();
            let (a, b) = (on(&a), on(&b));
            let (column, first) = (a.narrow(1, 0, 1).unwrap(), b.narrow(0, 0, 1).unwrap());
            let above = a.gt(&b).unwrap();
            let masks = [above.clone(), a.le(&column).unwrap(), first.lt(&a).unwrap()];
            let chosen = [above.select(&a, &b).unwrap(), above.select(&column, &first).unwrap()];
            let chosen = chosen.map(|x| x.cast(DType::F32).unwrap().to_vec::<f32>().unwrap());
            let bits = |x: Vec<f32>| x.into_iter().map(f32::to_bits).collect();
            let masks = masks.into_iter().map(|mask| mask.to_vec::<u32>().unwrap());
            masks.chain(chosen.into_iter().map(bits)).collect()
        };
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let expected = outcomes(Device::Cpu, dtype);
            on_cuda(|device| assert!(outcomes(device, dtype) == expected, "{rows} {n} {dtype}"));
        }
    }
}

#[test]
fn ids_are_compared_as_integers_and_shapes_broadcast() {
    // Neighbours that one f32 would hold as one.
    on_every_device(|device| {
        let column = Tensor::from_slice(&[u32::MAX, 7], &[2, 1], device).unwrap();
        let row = Tensor::from_slice(&[u32::MAX, u32::MAX - 1, 7], &[3], device).unwrap();
        let same = column.eq(&row).unwrap();
        assert_eq!(same.dims(), [2, 3]);
        assert_eq!(same.to_vec::<u32>().unwrap(), [1, 0, 0, 0, 0, 1], "on {device}");
    });
    let column = Tensor::from_slice(&[1u32], &[1], Device::Cpu).unwrap();
    let error = column.lt(&vector(&[1.0])).unwrap_err().to_string();
    assert_eq!(error, "lt: expected two float tensors or two of u32, found u32 and f32");
}

#[test]
fn a_choice_and_its_gradient_follow_the_mask() {
    let mask = Tensor::from_slice(&[1u32, 0, 3], &[3], Device::Cpu).unwrap();
    let (a, b) = (vector(&[1.0, 2.0, f32::INFINITY]), vector(&[f32::NAN, 5.0, 6.0]));
    let chosen = mask.select(&a, &b).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(chosen, [1.0, 5.0, f32::INFINITY]);
    // a stretches, so its gradient is a sum over what was chosen of it.
    let a = Tensor::from_slice(&[0.5f32, -1.0], &[2, 1], Device::Cpu).unwrap();
    let b = vector(&[3.0, 4.0, 5.0]);
    let dy =
        Tensor::from_slice(&[1.0f32, -2.0, 0.5, 4.0, 2.0, -1.0], &[2, 3], Device::Cpu).unwrap();
    let on = |device: Device| Tensor::from_slice(&[1u32, 0, 3], &[3], device).unwrap();
    let forward = |x: &[Tensor]| on(x[0].device()).select(&x[0], &x[1]);
    check_finite_differences("select", &[a.clone(), b.clone()], &dy, &forward);
    check_storage("select", &[a, b], &dy, &forward);
}

#[test]
fn every_dtype_can_be_chosen() {
    let mask = Tensor::from_slice(&[0u32, 1], &[2], Device::Cpu).unwrap();
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::U32] {
        on_every_device(|device| {
            let full = |value: f32| Tensor::full(value, &[], dtype, device).unwrap();
            let chosen = mask.to_device(device).unwrap().select(&full(3.0), &full(4.0)).unwrap();
            let chosen = chosen.cast(DType::U32).unwrap().to_vec::<u32>().unwrap();
            assert_eq!(chosen, [4, 3], "{dtype} on {device}");
        });
    }
    let error = |mask: &Tensor, a: &Tensor, b: &Tensor| mask.select(a, b).unwrap_err().to_string();
    let x = vector(&[1.0]);
    assert_eq!(error(&x, &x, &x), "select: mask: expected dtype u32, found f32");
    assert_eq!(
        error(&mask, &x, &mask),
        "select: expected two tensors of one dtype, found f32 and u32"
    );
}
