use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Tensor};

const DTYPES: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::U32];

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, &[values.len()], Device::Cpu).unwrap()
}

#[test]
fn numbers_are_rounded_to_what_the_dtype_holds() {
    on_every_device(|device| {
        let through = |dtype: DType, x: f32| {
            let there = vector(&[x]).to_device(device).unwrap().cast(dtype).unwrap();
            there.cast(DType::F32).unwrap().item().unwrap()
        };
        // Halfway between neighbours, 1 and 1 + 2⁻¹⁰ or 1 + 2⁻⁷: to the even one.
        assert_eq!(through(DType::F16, 1.0 + 2f32.powi(-11)), 1.0);
        assert_eq!(through(DType::F16, 1.0 + 3.0 * 2f32.powi(-11)), 1.0 + 2f32.powi(-9));
        assert_eq!(through(DType::BF16, 1.0 + 2f32.powi(-8)), 1.0);
        assert_eq!(through(DType::F16, 1e6), f32::INFINITY);
        assert!(through(DType::BF16, f32::NAN).is_nan());
        assert_eq!(through(DType::U32, 2.9), 2.0);
        assert_eq!(through(DType::U32, -1.0), 0.0);
        assert_eq!(through(DType::U32, 1e10), u32::MAX as f32);
        assert_eq!(through(DType::U32, f32::NAN), 0.0);
    });
}

#[test]
fn a_card_rounds_every_number_as_the_cpu_does() {
    for n in [1, 31, 33, 769, 50257] {
        // Of every size, from below what f16 holds to beyond it.
        let powers = normal(&[n], 3).mul_scalar(9.0).unwrap().exp().unwrap();
        let x = powers.mul(&normal(&[n], 4)).unwrap();
        for (from, to) in DTYPES.into_iter().flat_map(|from| DTYPES.map(|to| (from, to))) {
            let bits = |device: Device| -> Vec<u32> {
                let y = x.to_device(device).unwrap().cast(from).unwrap().cast(to).unwrap();
                match to {
                    DType::U32 => y.to_vec().unwrap(),
                    _ => y.read().unwrap().iter().map(|y| y.to_bits()).collect(),
                }
            };
            let expected = bits(Device::Cpu);
            on_cuda(|device| assert!(bits(device) == expected, "{n} from {from} to {to}"));
        }
    }
}

#[test]
fn one_dtype_costs_nothing_and_all_pairs_are_there() {
    for from in DTYPES {
        for to in DTYPES {
            let x = vector(&[0.0, 1.0, 200.0]).cast(from).unwrap().cast(to).unwrap();
            let back = x.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
            assert_eq!((x.dtype(), back), (to, vec![0.0, 1.0, 200.0]), "{from} to {to}");
            let meta = Tensor::zeros(&[2, 3], from, Device::Meta).unwrap().cast(to).unwrap();
            assert_eq!((meta.dims(), meta.dtype()), (&[2, 3][..], to));
        }
    }
}

#[test]
fn a_gradient_is_cast_back() {
    let (x, dy) = (vector(&[0.5, -3.0]), vector(&[1.0, 0.25]));
    // These numbers are held exactly by 16 bits, so the way there and back changes no gradient.
    let through = |x: &[Tensor]| x[0].cast(DType::BF16)?.cast(DType::F32)?.mul(&x[0]);
    let straight = |x: &[Tensor]| x[0].mul(&x[0]);
    let of = |forward: Forward| {
        gradients(std::slice::from_ref(&x), &dy, forward)[0].to_vec::<f32>().unwrap()
    };
    assert_eq!((of(&through), of(&straight)), (vec![1.0, -1.5], vec![1.0, -1.5]));
    let ids = vector(&[1.0]).cast(DType::U32).unwrap();
    assert!(ids.edge().is_none());
}
