use super::Dropout;
use crate::ops::testing::*;
use crate::random::Rng;
use crate::tensor::{Device, Tensor};
use crate::{DType, Kind};

fn ones(dims: &[usize]) -> Tensor {
    Tensor::full(1.0, dims, DType::F32, Device::Cpu).unwrap()
}

fn dropped(x: Tensor, p: f32, rng: Rng, site: u64) -> Vec<f32> {
    x.dropout(Dropout::new(p, rng, site).unwrap()).unwrap().to_vec().unwrap()
}

#[test]
fn the_share_kept_is_one_minus_p_and_the_mean_is_kept() {
    let n = 100_003;
    let y = dropped(ones(&[1, n]), 0.3, Rng::new(5), 2);
    let kept = y.iter().filter(|&&y| y != 0.0).count() as f64 / n as f64;
    // Five standard errors of a share.
    assert!((kept - 0.7).abs() < 5.0 * (0.21 / n as f64).sqrt(), "{kept}");
    assert!(y.iter().all(|&y| y == 0.0 || (y - 1.0 / 0.7).abs() < 1e-6));
}

#[test]
fn a_mask_depends_on_seed_site_attempt_and_sample_only() {
    let rng = Rng::new(1);
    let whole = dropped(ones(&[4, 37]), 0.5, rng, 3);
    let later = dropped(ones(&[2, 37]), 0.5, Rng { first_sample: 2, ..rng }, 3);
    assert_eq!(whole[2 * 37..], later, "a micro-batch is a part of the batch");
    assert_ne!(whole, dropped(ones(&[4, 37]), 0.5, rng, 4));
    assert_ne!(whole, dropped(ones(&[4, 37]), 0.5, Rng { attempt: 1, ..rng }, 3));
    assert_ne!(whole, dropped(ones(&[4, 37]), 0.5, Rng::new(2), 3));
}

#[test]
fn backward_draws_the_same_mask() {
    let dropout = Dropout::new(0.4, Rng::new(9), 0).unwrap();
    let dy = Tensor::from_slice(&[0.5f32; 3 * 35], &[3, 35], Device::Cpu).unwrap();
    let forward = |x: &[Tensor]| x[0].clone().dropout(dropout);
    check_finite_differences("dropout", &[ones(&[3, 35])], &dy, &forward);
    agree("dropout", &[ones(&[3, 35])], DType::F32, ELEMENTWISE, &forward);
}

#[test]
fn a_card_draws_the_cpus_masks_to_the_bit() {
    let rng = Rng { attempt: (1 << 40) + 3, first_sample: 70_000, ..Rng::new(6) };
    for dims in [&[1, 1][..], &[3, 31], &[2, 33], &[5], &[2, 3, 769], &[1030, 2], &[1, 50257]] {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let x = normal(dims, 8).cast(dtype).unwrap();
            let bits = |device: Device| -> Vec<u32> {
                let dropout = Dropout::new(0.3, rng, 17).unwrap();
                let y = x.to_device(device).unwrap().dropout(dropout).unwrap();
                y.read().unwrap().iter().map(|y| y.to_bits()).collect()
            };
            let expected = bits(Device::Cpu);
            on_cuda(|device| assert!(bits(device) == expected, "{dims:?} {dtype}"));
        }
    }
}

#[test]
fn an_impossible_share_is_a_usage_error() {
    for p in [-0.1, 1.0, f32::NAN] {
        assert_eq!(Dropout::new(p, Rng::new(0), 0).unwrap_err().kind(), Kind::Usage);
    }
}
